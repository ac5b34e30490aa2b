package config

import (
	"fmt"
	"slices"
	"strings"
)

const (
	variablePrefix = "UDPRELAY_"

	// FileVariable is the environment variable that names the file to load.
	FileVariable = "UDPRELAY_CONFIG"
)

// variable returns the environment variable that stands for a key.
func variable(path string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// readEnvironment overlays the variables that are set and not empty: in unit
// files and containers an empty variable commonly stands for the default.
func (l *loader) readEnvironment(environ []string) {
	values := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, variablePrefix) {
			values[name] = value
		}
	}
	known := []string{FileVariable}
	visit(schema, "", func(k *key, path string) {
		name := variable(path)
		if strings.Contains(path, "[]") {
			return
		}
		known = append(known, name)
		if value := values[name]; value == "" {
			return
		} else if at := (origin{kind: fromEnvironment, source: name}); k.list != nil {
			k.list.clear(l, at)
			for item := range strings.SplitSeq(value, ",") {
				l.setItem(k.list, strings.TrimSpace(item), at, path)
			}
		} else {
			l.setValue(k, value, at, path)
		}
	})
	for name := range values {
		if !slices.Contains(known, name) {
			l.warnUnknown(name, known)
		}
	}
	slices.SortFunc(l.warnings, func(a, b Warning) int { return strings.Compare(a.Source, b.Source) })
}

func (l *loader) warnUnknown(name string, known []string) {
	var endings []string
	for _, k := range known {
		endings = append(endings, strings.TrimPrefix(k, variablePrefix))
	}
	message := "unknown variable, ignored"
	if near := closest(strings.TrimPrefix(name, variablePrefix), endings); near != "" {
		message += fmt.Sprintf("; did you mean %s?", variablePrefix+near)
	}
	l.warn(origin{kind: fromEnvironment, source: printable(name)}, "", message)
}

// readFlags overlays flags, in their order.
func (l *loader) readFlags(flags []Setting) {
	replaced := map[*list]bool{}
	for _, flag := range flags {
		at := origin{kind: fromFlags, source: flag.Name}
		k := lookUp(flag.Key)
		switch {
		case k == nil:
			l.fail(at, printable(flag.Key), "unknown key")
		case k.value != nil:
			l.setValue(k, flag.Value, at, flag.Key)
		case k.list.flagsAdd || replaced[k.list]:
			l.setItem(k.list, flag.Value, at, flag.Key)
		default:
			replaced[k.list] = true
			k.list.clear(l, at)
			l.setItem(k.list, flag.Value, at, flag.Key)
		}
	}
}

// setItem adds to a list an item in its short form, FIRST or FIRST=WORD=WORD.
func (l *loader) setItem(list *list, text string, at origin, path string) {
	n := list.length(l)
	if n >= list.most {
		if !l.full() {
			l.fail(at, path, fmt.Sprintf("has more than %d items; want at most %d", list.most, list.most))
		}
		return
	}
	list.add(l, at)
	path = fmt.Sprintf("%s[%d]", path, n)
	parts := []string{text}
	if len(list.item) > 1 {
		parts = strings.Split(text, "=")
	}
	l.setValue(&list.item[0], parts[0], at, join(path, list.item[0].name))
	l.setWords(list.item[1:], parts[1:], at, path)
}

// setWords gives each word to the one of keys that knows it, in whichever order
// they come. No two keys know the same word.
func (l *loader) setWords(keys []key, words []string, at origin, path string) {
	var known []string
	for i := range keys {
		known = append(known, keys[i].value.words...)
	}
	before := map[string]string{} // the words so far, by the names of their keys
	for _, word := range words {
		n := slices.IndexFunc(keys, func(k key) bool { return slices.Contains(k.value.words, word) })
		switch {
		case l.full():
			return
		case word == "":
			l.fail(at, path, `has nothing after a "="; want `+orList(known))
		case n < 0:
			l.fail(at, path, unknownWord(shorten(word), known))
		case before[keys[n].name] != "":
			l.fail(at, join(path, keys[n].name), fmt.Sprintf("%q and %q cannot both hold; want one of them", before[keys[n].name], word))
		default:
			before[keys[n].name] = word
			l.setValue(&keys[n], word, at, join(path, keys[n].name))
		}
	}
}

// lookUp returns the value or list at path, or nil.
func lookUp(path string) (found *key) {
	visit(schema, "", func(k *key, p string) {
		if p == path && !strings.Contains(p, "[]") {
			found = k
		}
	})
	return found
}

// requireAll refuses defaults that leave out a key, for then nothing would say
// what holds.
func (l *loader) requireAll() {
	if len(l.mistakes) > 0 {
		return
	}
	visit(schema, "", func(_ *key, path string) {
		if _, set := l.set[path]; !set && !strings.Contains(path, "[]") {
			l.fail(l.origin(1, 1), path, "has no default; want one")
		}
	})
}
