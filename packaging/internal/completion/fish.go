package completion

import (
	"fmt"
	"strings"

	"udprelay/packaging/internal/usage"
)

// Fish returns the completions for fish 3 and later.
func Fish(program *usage.Command) []byte {
	var paths, rules strings.Builder
	for _, c := range program.All() {
		if len(c.Path) > 0 {
			fmt.Fprintf(&paths, " %s", fishQuote(c.Name()))
		}
		rule := "complete -c udprelay -n " + fishQuote("__udprelay_at "+fishQuote(c.Name()))
		for _, below := range c.Commands {
			fmt.Fprintf(&rules, "%s -a %s -d %s\n", rule, below.Path[len(below.Path)-1], fishQuote(below.Summary))
		}
		if c.TakesFile() {
			fmt.Fprintf(&rules, "%s -F\n", rule)
		}
		for _, f := range c.Flags {
			rules.WriteString(rule)
			for _, name := range f.Names {
				switch bare := strings.TrimLeft(name, "-"); {
				case len(name)-len(bare) == 2:
					fmt.Fprintf(&rules, " -l %s", bare)
				case len(bare) == 1:
					fmt.Fprintf(&rules, " -s %s", bare)
				default:
					fmt.Fprintf(&rules, " -o %s", bare)
				}
			}
			switch {
			case f.TakesFile():
				rules.WriteString(" -r -F")
			case len(f.Words) > 0:
				fmt.Fprintf(&rules, " -x -a %s", fishQuote(strings.Join(f.Words, " ")))
			case f.Arg != "":
				rules.WriteString(" -x")
			}
			fmt.Fprintf(&rules, " -d %s\n", fishQuote(f.Summary))
		}
	}
	return fmt.Appendf(nil, fish, strings.TrimSpace(paths.String()), rules.String())
}

func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}

const fish = `# fish completion for udprelay, made from its help pages.

# Holds if the words before the cursor make this command.
function __udprelay_at
    set -l path
    for word in (commandline -opc)[2..-1]
        if contains -- (string join ' ' -- $path $word) %s
            set path $path $word
        end
    end
    test "$path" = "$argv[1]"
end

complete -c udprelay -f
%s`
