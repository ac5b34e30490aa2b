package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A version is one for dpkg and for rpm alike: digits first, ~ sorts before
// everything, even the end (deb-version(7)).
var versionShape = regexp.MustCompile(`^[0-9][0-9A-Za-z.]*([~+][0-9A-Za-z.]+)*$`)

// findVersion returns the version that is given, or what git says of the
// commit: that of its tag v*, or one after the last tag and before the next
// release, such as 1.2.3+5.c2cd17c, or before all if there is no tag.
func findVersion(ctx context.Context, source, given string) (string, error) {
	if given != "" {
		version, ok := asVersion(given)
		if !ok {
			return "", fmt.Errorf("VERSION=%s: want one such as 1.2.3 or 1.2.3-rc.1", given)
		}
		return version, nil
	}
	described, err := call(ctx, source, nil, "git", "describe", "--tags", "--match", "v[0-9]*", "--long", "--always", "--dirty", "--abbrev=12")
	if err != nil {
		return "", fmt.Errorf("no version from git; set VERSION: %w", err)
	}
	date, err := call(ctx, source, []string{"TZ=UTC"}, "git", "log", "-1", "--date=format-local:%Y%m%d%H%M%S", "--format=%cd")
	if err != nil {
		return "", err
	}
	version, ok := fromGit(strings.TrimSpace(described), strings.TrimSpace(date))
	if !ok {
		return "", fmt.Errorf("no version in what git says, %q; set VERSION", described)
	}
	return version, nil
}

// asVersion returns a semantic version as dpkg and rpm compare it: the - before
// a pre-release becomes a ~.
func asVersion(text string) (version string, ok bool) {
	version = strings.Replace(text, "-", "~", 1)
	version = strings.ReplaceAll(version, "-", ".")
	return version, versionShape.MatchString(version)
}

var (
	afterTag = regexp.MustCompile(`^v(.+)-([0-9]+)-g([0-9a-f]+)(-dirty)?$`)
	noTag    = regexp.MustCompile(`^([0-9a-f]+)(-dirty)?$`)
	dateForm = "20060102150405"
)

// fromGit turns what "git describe --long --always --dirty" says into a version.
func fromGit(described, date string) (version string, ok bool) {
	if parts := noTag.FindStringSubmatch(described); parts != nil {
		if _, err := time.Parse(dateForm, date); err != nil {
			return "", false
		}
		return "0.0.0~" + date + "." + parts[1] + strings.Replace(parts[2], "-", ".", 1), true
	}
	parts := afterTag.FindStringSubmatch(described)
	if parts == nil {
		return "", false
	}
	version, ok = asVersion(parts[1])
	if parts[2] != "0" || parts[4] != "" {
		version += "+" + parts[2] + "." + parts[3] + strings.Replace(parts[4], "-", ".", 1)
	}
	return version, ok
}
