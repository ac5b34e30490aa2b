package completion

import (
	"fmt"
	"strings"

	"udprelay/packaging/internal/usage"
)

// Zsh returns the completions for zsh, a file to be autoloaded as _udprelay.
func Zsh(program *usage.Command) []byte {
	var b strings.Builder
	b.WriteString("#compdef udprelay\n# zsh completion for udprelay, made from its help pages.\n")
	for _, c := range program.All() {
		fmt.Fprintf(&b, "\n%s() {\n", zshFunction(c))
		if len(c.Commands) > 0 {
			b.WriteString("  local curcontext=\"$curcontext\" state line\n  typeset -A opt_args\n")
		}
		b.WriteString("  _arguments -C -s")
		for _, f := range c.Flags {
			fmt.Fprintf(&b, " \\\n    %s", zshFlag(f))
		}
		switch {
		case len(c.Commands) > 0:
			b.WriteString(" \\\n    '1: :->command' \\\n    '*:: :->argument'\n")
			zshCommands(&b, c)
		case c.TakesFile():
			b.WriteString(" \\\n    '*:file:_files'\n")
		case c.Args != "":
			fmt.Fprintf(&b, " \\\n    %s\n", zshQuote("1:"+zshEscape(c.Args)+": "))
		default:
			b.WriteString("\n")
		}
		b.WriteString("}\n")
	}
	b.WriteString(`
if [[ "$funcstack[1]" == _udprelay ]]; then
  _udprelay "$@"
else
  compdef _udprelay udprelay
fi
`)
	return []byte(b.String())
}

// zshCommands writes what follows _arguments where a command is wanted.
func zshCommands(b *strings.Builder, c *usage.Command) {
	b.WriteString("  case $state in\n  command)\n    local -a commands\n    commands=(\n")
	for _, below := range c.Commands {
		fmt.Fprintf(b, "      %s\n", zshQuote(below.Path[len(below.Path)-1]+":"+below.Summary))
	}
	b.WriteString("    )\n    _describe -t commands command commands\n    ;;\n  argument)\n    case $words[1] in\n")
	for _, below := range c.Commands {
		fmt.Fprintf(b, "    %s) %s ;;\n", below.Path[len(below.Path)-1], zshFunction(below))
	}
	b.WriteString("    esac\n    ;;\n  esac\n")
}

func zshFunction(c *usage.Command) string {
	return strings.Join(append([]string{"_udprelay"}, c.Path...), "_")
}

// zshFlag returns a specification of _arguments. A flag is offered once, unless
// it may be repeated.
func zshFlag(f usage.Flag) string {
	var before string
	switch {
	case f.Repeatable:
		before = zshQuote("*")
	case f.Names[0] == "--help":
		before = zshQuote("(- *)")
	default:
		before = zshQuote("(" + strings.Join(f.Names, " ") + ")")
	}
	names := f.Names[0]
	if len(f.Names) > 1 {
		names = "{" + strings.Join(f.Names, ",") + "}"
	}
	after := "[" + zshEscape(f.Summary) + "]"
	if f.Arg != "" {
		action := " " // nothing is known of the value
		if f.TakesFile() {
			action = "_files"
		} else if len(f.Words) > 0 {
			action = "(" + strings.Join(f.Words, " ") + ")"
		}
		after = "=" + after + ":" + zshEscape(f.Arg) + ":" + action
	}
	return before + names + zshQuote(after)
}

func zshEscape(text string) string {
	return strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(text)
}

func zshQuote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
