package completion

import (
	"fmt"
	"strings"

	"udprelay/packaging/internal/usage"
)

// Bash returns the completions for bash 4 and later. They do not need the
// package bash-completion, but for being found.
func Bash(program *usage.Command) []byte {
	var paths, values, files, words strings.Builder
	for _, c := range program.All() {
		path := strings.TrimSuffix(" "+c.Name(), " ")
		if path != "" {
			fmt.Fprintf(&paths, " | %q", path)
		}
		var names []string
		for _, below := range c.Commands {
			names = append(names, below.Path[len(below.Path)-1])
		}
		if c.TakesFile() {
			fmt.Fprintf(&files, " | %q", path)
		}
		var flags []string
		for _, f := range c.Flags {
			flags = append(flags, f.Names...)
			if f.Arg == "" {
				continue
			}
			for i, name := range f.Names {
				if i > 0 {
					values.WriteString(" | ")
				} else {
					values.WriteString("\t")
				}
				fmt.Fprintf(&values, "%q", path+" "+name)
			}
			switch {
			case f.TakesFile():
				values.WriteString(") _udprelay_files ;;\n")
			default:
				fmt.Fprintf(&values, ") _udprelay_words %q ;;\n", strings.Join(f.Words, " "))
			}
		}
		fmt.Fprintf(&words, "\t%q) flags=%q names=%q ;;\n", path, strings.Join(flags, " "), strings.Join(names, " "))
	}
	return []byte(strings.NewReplacer(
		"@PATHS@", strings.TrimPrefix(paths.String(), " | "),
		"@VALUES@", strings.TrimSuffix(values.String(), "\n"),
		"@FILES@", orNothing(strings.TrimPrefix(files.String(), " | ")),
		"@WORDS@", strings.TrimSuffix(words.String(), "\n"),
	).Replace(bash))
}

// orNothing is a pattern that matches nothing if there are no others.
func orNothing(patterns string) string {
	if patterns == "" {
		return `"?"`
	}
	return patterns
}

const bash = `# bash completion for udprelay, made from its help pages.

_udprelay_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	_udprelay_prefix
}

_udprelay_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
	_udprelay_prefix
}

# What is completed replaces the whole word.
_udprelay_prefix() {
	[[ -z $prefix ]] || COMPREPLY=("${COMPREPLY[@]/#/$prefix}")
}

_udprelay() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local prefix= path= word= i flags= names=
	COMPREPLY=()

	# --flag=value is three words if COMP_WORDBREAKS has the =, as it has at
	# first, or else one.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]] && ((COMP_CWORD > 2)); then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	elif [[ $cur == -*=* ]]; then
		prev=${cur%%=*} prefix=${cur%%=*}=
		cur=${cur#*=}
	fi

	# The command is what the words before make together.
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case "$path $word" in
		@PATHS@) path="$path $word" ;;
		esac
	done

	case "$path $prev" in
@VALUES@
	*) prev= ;;
	esac
	[[ -z $prev ]] || return

	case "$path" in
@WORDS@
	esac
	if [[ $cur == -* ]]; then
		_udprelay_words "$flags"
	elif [[ -n $names ]]; then
		_udprelay_words "$names"
	else
		case "$path" in
		@FILES@) _udprelay_files ;;
		esac
	fi
}

complete -F _udprelay udprelay
`
