package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The names of blocks in the page, and of plots in the directory of images.
const (
	figuresBlock = "figures"
	sizeBlock    = "size"
	linkBlock    = "link"

	comparePlot = "compare.svg"
	costPlot    = "cost.svg"
	crowdPlot   = "crowd.svg"
)

// replaceBlock returns page with what is between the marks of a block replaced.
func replaceBlock(page, block, text string) (string, error) {
	begin, end := fmt.Sprintf("<!-- %s -->\n", block), fmt.Sprintf("<!-- end of %s -->\n", block)
	if strings.Count(page, begin) != 1 || strings.Count(page, end) != 1 {
		return "", fmt.Errorf("want the lines %q and %q once each", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	before, rest, _ := strings.Cut(page, begin)
	_, after, found := strings.Cut(rest, end)
	if !found {
		return "", fmt.Errorf("%q comes before %q", strings.TrimSpace(end), strings.TrimSpace(begin))
	}
	return before + begin + strings.TrimRight(text, "\n") + "\n" + end + after, nil
}

// publish writes the tables into the page and the plots beside it.
func (r *report) publish(page, images string) error {
	before, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	seen, err := filepath.Rel(filepath.Dir(page), images)
	if err != nil {
		return err
	}
	seen = filepath.ToSlash(seen)
	text := string(before)
	if err := os.MkdirAll(images, 0o755); err != nil {
		return err
	}
	if len(r.Runs) > 0 {
		if text, err = replaceBlock(text, figuresBlock, r.markdown(seen)); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	if r.Size != nil {
		if text, err = replaceBlock(text, sizeBlock, r.sizeMarkdown(seen)); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	if r.Link != nil {
		if text, err = replaceBlock(text, linkBlock, r.linkMarkdown()); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	plots, err := r.plots()
	if err != nil {
		return err
	}
	for name, plot := range plots {
		if err := os.WriteFile(filepath.Join(images, name), plot, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(page, []byte(text), 0o644)
}
