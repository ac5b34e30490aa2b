package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxValue bounds what a message repeats: the longest value is a host name of
// 253 characters and a port.
const maxValue = 300 // bytes

// A loader overlays sources and collects mistakes. It is used once.
type loader struct {
	config Config

	// What the checks of the whole need to know beyond config.
	listen  endpoint
	http    endpoint
	gateway struct{ tcp, tls, webSocket endpoint }
	cluster struct {
		listen endpoint
		routes []addressed // as config.Cluster.Routes
	}
	static   []addressed // as config.Peers.Static
	rules    []origin    // as config.Access
	accessAt origin      // of the whole list

	set      map[string]origin // where the sources so far have values and lists last, by their paths
	mistakes []mistake
	warnings []Warning

	// The file that is being read, or was last.
	kind  int
	name  string
	open  bool // every user may read it
	lines []string
}

// readFile overlays a file.
func (l *loader) readFile(kind int, file *File) {
	l.kind, l.name, l.open, l.lines = kind, file.Name, file.Open, nil
	if len(file.Data) > maxFileSize {
		l.fail(l.origin(0, 0), "", "the file is larger than 1 MiB; want a configuration")
		return
	}
	text := bytes.TrimPrefix(file.Data, []byte("\ufeff"))
	l.lines = strings.Split(string(text), "\n")
	if line, column, wrong := checkText(text); wrong != "" {
		l.fail(l.origin(line, column), "", wrong)
		return
	}
	doc, err := parse(text)
	if err != nil {
		line, column, wrong := syntaxError(err, l.lines)
		l.fail(l.origin(line, column), "", wrong)
		return
	}
	if doc.second != nil {
		l.fail(l.origin(doc.second.Line, doc.second.Column), "", "a second document starts here; want one")
	}
	l.readTop(doc.root)
}

func (l *loader) readTop(root *yaml.Node) {
	start := l.origin(1, 1)
	switch {
	case root == nil || isEmpty(root):
		l.fail(start, "", "the file has no keys; want at least one such as listen")
	case root.Kind == yaml.SequenceNode:
		l.fail(l.originOf(root), "", "the file is a list; want keys such as listen and peers")
	case root.Kind == yaml.ScalarNode:
		l.fail(l.originOf(root), "", `the file has no keys; want lines such as "listen: :9000", with a space after the key's ":"`)
	default:
		l.readNode(&wholeFile, root, start, "")
	}
}

// readNode takes the value of the key k at path; blame is where an absent
// value is missed.
func (l *loader) readNode(k *key, node *yaml.Node, blame origin, path string) {
	at := l.originOf(node)
	if node.Kind == yaml.AliasNode { // it points to a node that is no alias
		node = node.Alias
	}
	if strings.HasPrefix(node.Tag, "!") && (node.Style&yaml.TaggedStyle != 0 || node.Tag == "!") {
		l.fail(at, path, fmt.Sprintf("has the tag %q; want no tags", shorten(node.Tag)))
		return
	}
	if isEmpty(node) && !k.mayBeEmpty(node) {
		if node.Kind == yaml.ScalarNode && node.Value == "" && !isQuoted(node) {
			at = blame // nothing is written, so the library's place is past the end of the line
		}
		l.fail(at, path, "is empty; want "+k.want())
		return
	}
	switch {
	case k.value != nil:
		l.readValue(k, node, at, path)
	case k.list != nil:
		l.readList(k.list, node, at, path)
	default:
		l.readSection(k, node, at, path)
	}
}

// mayBeEmpty reports whether node, which is empty, says none: [] for a list, ""
// for some values.
func (k *key) mayBeEmpty(node *yaml.Node) bool {
	if k.value != nil {
		return k.value.optional && isQuoted(node)
	}
	return k.list != nil && node.Kind == yaml.SequenceNode
}

func (l *loader) readValue(k *key, node *yaml.Node, at origin, path string) {
	switch {
	case node.Kind == yaml.SequenceNode:
		l.fail(at, path, "is a list; want "+k.want())
	case node.Kind == yaml.MappingNode:
		l.fail(at, path, "is a section; want "+k.want())
	case k.value.number && isQuoted(node):
		l.fail(at, path, fmt.Sprintf("%q is a text; want a number without quotes", shorten(node.Value)))
	default:
		l.setValue(k, node.Value, at, path)
	}
}

// setValue takes the text of a value, from whichever source.
func (l *loader) setValue(k *key, text string, at origin, path string) {
	wrong := ""
	switch {
	case text == "" && !k.value.optional:
		wrong = "is empty; want " + k.want()
	case len(text) > cmp.Or(k.value.most, maxValue):
		wrong = fmt.Sprintf("%q has %d bytes; want %s", shorten(text), len(text), k.want())
		if k.value.hidden {
			wrong = fmt.Sprintf("has %d bytes; want %s", len(text), k.want())
		}
	default:
		wrong = k.value.set(l, text)
	}
	if shown := redact(text); shown != text {
		wrong = strings.NewReplacer(strconv.Quote(text), strconv.Quote(shown), text, shown).Replace(wrong)
	}
	if wrong != "" {
		l.fail(at, path, wrong)
	}
	l.set[path] = at
}

func (l *loader) readList(list *list, node *yaml.Node, at origin, path string) {
	list.clear(l, at)
	l.set[path] = at
	if node.Kind != yaml.SequenceNode {
		what := "is a section"
		if node.Kind == yaml.ScalarNode {
			what = fmt.Sprintf("%q is no list", shorten(node.Value))
		}
		l.fail(at, path, what+"; want "+list.want)
		return
	}
	if n := len(node.Content); n > list.most {
		l.fail(at, path, fmt.Sprintf("has %d items; want at most %d", n, list.most))
		return
	}
	item := key{keys: list.item}
	for i, node := range node.Content {
		if l.full() {
			return
		}
		at, path := l.originOf(node), fmt.Sprintf("%s[%d]", path, i)
		list.add(l, at)
		if list.plain() {
			l.readNode(&list.item[0], node, at, path)
			continue
		}
		if wrong := noSection(resolved(node)); wrong != "" {
			l.fail(at, path, wrong+"; want "+list.itemShape)
			continue
		}
		l.readNode(&item, node, at, path)
		l.requireFirst(list.item, resolved(node), at, path)
	}
}

// noSection says what node is instead of a section with keys in it.
func noSection(node *yaml.Node) string {
	switch {
	case isEmpty(node):
		return "is empty"
	case node.Kind == yaml.SequenceNode:
		return "is a list"
	case node.Kind == yaml.ScalarNode:
		return fmt.Sprintf("%q is a single value", shorten(node.Value))
	}
	return ""
}

// requireFirst refuses a list's item without its first key, unless an unknown
// key is there, which may be what the first was meant to be.
func (l *loader) requireFirst(keys []key, item *yaml.Node, at origin, path string) {
	for i := 0; i < len(item.Content); i += 2 {
		if name := item.Content[i].Value; name == keys[0].name || !slices.Contains(names(keys), name) {
			return
		}
	}
	l.fail(at, path, fmt.Sprintf("has no %q; want %s", keys[0].name, keys[0].want()))
}

func (l *loader) readSection(k *key, node *yaml.Node, at origin, path string) {
	if wrong := noSection(node); wrong != "" {
		l.fail(at, path, wrong+"; want "+k.want())
		return
	}
	firsts := map[string]origin{}
	for i := 0; i+1 < len(node.Content) && !l.full(); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		at, text := l.originOf(name), name.Value
		if name.Kind != yaml.ScalarNode {
			l.fail(at, path, "a key must be a word; want one of "+strings.Join(names(k.keys), ", "))
			continue
		}
		if name.Tag == "!!merge" {
			l.fail(at, path, `"<<" does not merge here; want each key written out`)
			continue
		}
		section, path := path, join(path, printable(text))
		n := slices.IndexFunc(k.keys, func(k key) bool { return k.name == text })
		if n < 0 {
			l.fail(at, path, unknownKey(text, k.keys, section))
			continue
		}
		if first, again := firsts[text]; again {
			l.fail(at, path, fmt.Sprintf("the key is already in line %d; want it once", first.line))
			continue
		}
		firsts[text] = at
		l.readNode(&k.keys[n], value, at, path)
	}
}

// unknownKey says which key may have been meant, among the keys of the section at
// path, below it or elsewhere.
func unknownKey(name string, keys []key, path string) string {
	if near := closest(name, names(keys)); near != "" {
		return fmt.Sprintf("unknown key; did you mean %q?", near)
	}
	if elsewhere := cmp.Or(findKey(keys, path, name), findKey(schema, "", name)); elsewhere != "" {
		return fmt.Sprintf("unknown key; did you mean %s?", elsewhere)
	}
	return "unknown key; want one of " + strings.Join(names(keys), ", ")
}

// findKey returns the path of the first key of that name, or "". Sections of the
// top level do not count, for what is in them is hardly what was meant.
func findKey(keys []key, path, name string) (found string) {
	for i := range keys {
		k, at := &keys[i], join(path, keys[i].name)
		if k.name == name && (k.keys == nil || path != "") {
			return at
		}
		if found = findKey(k.keys, at, name); found != "" {
			return found
		}
	}
	return ""
}

func names(keys []key) []string {
	list := make([]string, len(keys))
	for i := range keys {
		list[i] = keys[i].name
	}
	return list
}

// resolved follows an alias, which never points to another one.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// isEmpty reports whether node is null, an empty text, list or section.
func isEmpty(node *yaml.Node) bool {
	if node.Kind == yaml.ScalarNode {
		return node.Value == "" || node.Tag == "!!null"
	}
	return node.Kind != yaml.AliasNode && len(node.Content) == 0
}

func isQuoted(node *yaml.Node) bool {
	return node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// origin returns a place in the file, moved into it if the library's lies
// beyond its end.
func (l *loader) origin(line, column int) origin {
	if len(l.lines) > 0 {
		line = min(max(line, 1), len(l.lines))
		column = min(max(column, 1), utf8.RuneCountInString(l.lines[line-1])+1)
	}
	return origin{l.kind, l.name, line, column}
}

func (l *loader) originOf(node *yaml.Node) origin { return l.origin(node.Line, node.Column) }

// printable returns name as a part of a path: quoted and shortened unless it
// is a word.
func printable(name string) string {
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !isNameRune(r) }) {
		return shorten(name)
	}
	return fmt.Sprintf("%q", shorten(name))
}

// shorten returns text as messages repeat it: not long, and without passwords.
func shorten(text string) string {
	text = redact(text)
	const most = 60 // characters
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
