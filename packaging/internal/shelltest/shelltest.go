// Package shelltest asks real shells what they complete a line with. It is for
// tests only.
package shelltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"udprelay/internal/testneed"
)

// Shells are those that it knows.
var Shells = []string{"bash", "fish", "zsh"}

// Ask returns what the shell would complete the line with, sorted, if it had the
// completions of udprelay in file. The shell runs in directory.
func Ask(t testing.TB, shell, file, directory, line string) []string {
	t.Helper()
	switch shell {
	case "bash":
		return Run(t, directory, "bash", "--norc", "--noprofile", "-c", askBash, "bash", file, line)
	case "fish":
		return Run(t, directory, "fish", "--no-config", "-c", askFish, file, line)
	}
	return Run(t, directory, "zsh", "-f", "-c", askZsh, "zsh", filepath.Dir(file), line)
}

// Run returns the lines that a program prints, sorted, but for empty ones. It
// has a home without any settings.
func Run(t testing.TB, directory, name string, args ...string) []string {
	t.Helper()
	testneed.Tool(t, name)
	cmd := exec.Command(name, args...)
	cmd.Dir = directory
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "TERM=dumb")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool { return line == "" })
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	return lines
}

// askBash parts a line as readline does and calls the completion for it.
const askBash = `. "$1"
line=${2//=/ = }
COMP_LINE=$2 COMP_POINT=${#2}
read -ra COMP_WORDS <<<"$line"
[[ $line == *' ' && $2 != *= ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
[[ $(complete -p udprelay) == "complete -F _udprelay udprelay" ]] || exit 1
_udprelay udprelay
printf '%s\n' "${COMPREPLY[@]}"
`

const askFish = `source $argv[1]; complete -C $argv[2] | string replace -r '\t.*' ''; true`

// askZsh types the line and a tab into an interactive zsh on a terminal of its
// own, in which compadd tells its matches before it adds them.
const askZsh = `
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT= RPROMPT= PS2=; unsetopt zle_bracketed_paste; stty -echo columns 500; fpath=($1 \$fpath)"
zpty -w shell 'autoload -Uz compinit; compinit -u -D
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
  local -a __hits
  builtin compadd -A __hits "$@"
  local hit; for hit in $__hits; do print -r -- "<hit>$hit</hit>"; done
  builtin compadd "$@"
}
done-telling() { print "<end></end>" }
zle -N done-telling
bindkey "^B" done-telling
bindkey "^I" complete-word
print "<rea""dy></ready>"'
zpty -r shell out '*<ready></ready>*'
zpty -n -w shell "$2"$'\t'$'\x02'
zpty -r shell out '*<end></end>*'
zpty -d shell
for part in ${(s:<hit>:)out}; do
  [[ $part == *'</hit>'* ]] && print -r -- "${part%%</hit>*}"
done
exit 0
`
