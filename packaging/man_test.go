package packaging

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"udprelay/internal/testneed"
	"udprelay/packaging/internal/usage"
)

const (
	commandPage = "../docs/man/udprelay.8"
	configPage  = "../docs/man/udprelay.yaml.5"
)

func TestManPagesAreWellFormed(t *testing.T) {
	testneed.Tool(t, "mandoc")
	testneed.Tool(t, "man")
	for _, page := range []string{commandPage, configPage} {
		out, _ := exec.Command("mandoc", "-Tlint", "-Wall", page).CombinedOutput() // fails with style, too
		for line := range strings.Lines(string(out)) {
			// What is installed on this machine says nothing about the page.
			if !strings.Contains(line, "referenced manual not found") && !strings.Contains(line, "mandoc.db") {
				t.Error(line)
			}
		}
		cmd := exec.Command("man", "--warnings", "-l", page)
		cmd.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil || stderr.Len() > 0 || len(out) < 1000 {
			t.Errorf("%s: want a page without warnings, got %d bytes, %v, %s", page, len(out), err, &stderr)
		}
	}
}

// readPage returns a man page as it is written.
func readPage(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// flagsOf returns the flags of each command, spelled as in "--config FILE, -c FILE".
func flagsOf(program *usage.Command) map[string][]string {
	flags := map[string][]string{}
	for _, c := range program.All() {
		for _, f := range c.Flags {
			var names []string
			for _, name := range f.Names {
				names = append(names, strings.TrimSpace(name+" "+f.Arg))
			}
			flags[c.Name()] = append(flags[c.Name()], strings.Join(names, ", "))
		}
	}
	return flags
}

var (
	subsection = regexp.MustCompile(`(?m)^\.S([sh]) (.*)$`)
	flagItem   = regexp.MustCompile(`(?m)^\.It Fl (.*)$`)
	anyFlag    = regexp.MustCompile(`\bFl (-?[A-Za-z][A-Za-z0-9-]*)`)
)

// flagsInPage returns the items that are flags, for each command.
func flagsInPage(page string) map[string][]string {
	flags := map[string][]string{}
	command := ""
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if parts := subsection.FindStringSubmatch(line); parts != nil {
			if command = parts[2]; parts[1] == "h" {
				command = ""
			}
		}
		if parts := flagItem.FindStringSubmatch(line); parts != nil {
			item := strings.NewReplacer(" , Fl ", ", -", " Ar ", " ").Replace("-" + parts[1])
			flags[command] = append(flags[command], item)
		}
	}
	return flags
}

func TestManPageHasTheCommandsAndFlags(t *testing.T) {
	program := theProgram(t)
	page := readPage(t, commandPage)
	want := flagsOf(program)
	if diff := cmp.Diff(want, flagsInPage(page)); diff != "" {
		t.Errorf("flags (-the program's +the page's):\n%s", diff)
	}
	known := strings.Join(slices.Concat(slices.Collect(maps.Values(want))...), ", ") + ","
	for _, match := range anyFlag.FindAllStringSubmatch(page, -1) {
		if name := "-" + match[1]; !strings.Contains(known, name+",") && !strings.Contains(known, name+" ") {
			t.Errorf("the page names the flag %s, which is none", name)
		}
	}
	for _, c := range program.Commands {
		synopsis := regexp.MustCompile(`(?m)^\.Nm udprelay\n\.Cm ` + c.Name() + `$`)
		if !synopsis.MatchString(page) {
			t.Errorf("want udprelay %s in the synopsis", c.Name())
		}
		if c.Args == "" {
			continue
		}
		if args := regexp.MustCompile(`(?m)^\.(Op )?Ar ` + regexp.QuoteMeta(strings.Trim(c.Args, "[]")) + `$`); !args.MatchString(page) {
			t.Errorf("want the argument %s of udprelay %s in the synopsis", c.Args, c.Name())
		}
	}
}

// A described key is what the page of the configuration says of a key.
type described struct {
	fallback string // its default, "required", or "" if the page gives a list
	least    string
	most     string
	words    []string
	example  string
}

var (
	keyItem   = regexp.MustCompile(`(?m)^\.It Cm (\S+)$`)
	fallback  = regexp.MustCompile(`(?m)^Default:\n\.Cm (.*) \.$|^(Required)\.$`)
	bounds    = regexp.MustCompile(`(?m)^Range:\n\.Cm (\S+)\nto\n\.Cm (\S+) \.$`)
	choice    = regexp.MustCompile(`(?m)^Words:\n\.Cm (.*) \.$`)
	exampleOf = regexp.MustCompile(`(?m)^Example:\n\.Ql (.*)$`)
)

// keysInPage returns the keys that the page describes.
func keysInPage(t *testing.T, page string) map[string]described {
	t.Helper()
	page = strings.ReplaceAll(page, `\(dq`, `"`)
	keys := map[string]described{}
	places := keyItem.FindAllStringSubmatchIndex(page, -1)
	for i, place := range places {
		end := len(page)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		name, text := page[place[2]:place[3]], page[place[0]:end]
		d := described{}
		if parts := fallback.FindStringSubmatch(text); parts != nil {
			d.fallback = parts[1] + strings.ToLower(parts[2])
		} else {
			t.Errorf("%s: want a default", name)
		}
		if parts := bounds.FindStringSubmatch(text); parts != nil {
			d.least, d.most = parts[1], parts[2]
		}
		if parts := choice.FindStringSubmatch(text); parts != nil {
			d.words = strings.Split(parts[1], " , ")
		}
		if parts := exampleOf.FindStringSubmatch(text); parts != nil {
			d.example = parts[1]
		}
		if _, twice := keys[name]; twice {
			t.Errorf("%s is described twice", name)
		}
		keys[name] = d
	}
	return keys
}

// defaults returns each key that the program prints and its default, as it is
// written. Lists are those of their first item.
func defaults(t *testing.T) map[string]string {
	t.Helper()
	// A list that is empty by default needs an item to show its keys.
	plain, full := check(t, nil), check(t, []string{"UDPRELAY_PEERS_STATIC=collector.example:2055", "UDPRELAY_GATEWAY_WEBSOCKET_ORIGINS=https://app.example", "UDPRELAY_CLUSTER_ROUTES=127.0.0.1:6222"})
	keys := map[string]string{}
	flatten(t, keys, "", full, false)
	for key, value := range keys {
		if value == "[]" {
			t.Errorf("want an item of %s, to see its keys", key)
		}
	}
	flatten(t, keys, "", plain, false)
	return keys
}

// check returns what "udprelay check" prints.
func check(t *testing.T, environ []string) *yaml.Node {
	t.Helper()
	out, err := runProgram(t, environ, "check")
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(out, &document); err != nil {
		t.Fatal(err)
	}
	return document.Content[0]
}

// required are the keys of items that have no default.
var required = []string{"access[].from", "peers.static[].address"}

func flatten(t *testing.T, keys map[string]string, path string, node *yaml.Node, item bool) {
	t.Helper()
	switch {
	case node.Kind == yaml.MappingNode:
		for i := 0; i < len(node.Content); i += 2 {
			flatten(t, keys, strings.TrimPrefix(path+"."+node.Content[i].Value, "."), node.Content[i+1], item)
		}
	case node.Kind == yaml.SequenceNode && len(node.Content) == 0:
		keys[path] = "[]"
	case node.Kind == yaml.SequenceNode:
		var names []string
		for _, below := range node.Content {
			if below.Kind == yaml.ScalarNode {
				names = append(names, below.Value)
				continue
			}
			flatten(t, keys, path+"[]", below, true)
			names = append(names, below.Content[1].Value)
		}
		keys[path] = strings.Join(names, " , ")
	case slices.Contains(required, path):
		keys[path] = "required"
	case node.Style == yaml.DoubleQuotedStyle:
		keys[path] = `"` + node.Value + `"`
	default:
		keys[path] = node.Value
	}
}

func TestManPageHasTheKeysAndDefaults(t *testing.T) {
	got := map[string]string{}
	for name, d := range keysInPage(t, readPage(t, configPage)) {
		got[name] = d.fallback
	}
	if diff := cmp.Diff(defaults(t), got); diff != "" {
		t.Errorf("defaults (-the program's +the page's):\n%s", diff)
	}
}

// accepts reports whether the program finds those values good, and what it says.
func accepts(t *testing.T, environ ...string) (bool, string) {
	t.Helper()
	out, err := runProgram(t, environ, "check", "--quiet")
	return err == nil, string(out)
}

func TestManPageHasTheRangesAndWords(t *testing.T) {
	for name, d := range keysInPage(t, readPage(t, configPage)) {
		variable := "UDPRELAY_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_")) + "="
		value := func(word string) string { return variable + word }
		switch name { // items of lists have no variable of their own
		case "access[].from":
			value = func(word string) string { return "UDPRELAY_ACCESS=" + word }
		case "access[].may", "access[].join":
			value = func(word string) string { return "UDPRELAY_ACCESS=any=" + word }
		}
		if d.words != nil {
			_, message := accepts(t, value("?"))
			wanted := usage.Wanted(message)
			if strings.HasPrefix(name, "access[].") && name != "access[].from" {
				// One variable for both, so the program wants a word of either.
				wanted = slices.DeleteFunc(wanted, func(word string) bool { return !slices.Contains(d.words, word) })
			}
			if diff := cmp.Diff(wanted, d.words); diff != "" {
				t.Errorf("%s: words (-the program's +the page's):\n%s", name, diff)
			}
		} else if _, message := accepts(t, value("?")); strings.Contains(message, "unknown word") {
			t.Errorf("%s: want the words in the page, for the program says %s", name, message)
		}
		if d.least == "" {
			if _, message := accepts(t, value("-1s")); strings.Contains(message, "is out of range") {
				t.Errorf("%s: want the range in the page, for the program says %s", name, message)
			}
			continue
		}
		for _, bound := range []string{d.least, d.most} {
			if ok, message := accepts(t, value(bound)); !ok {
				t.Errorf("%s: want %s accepted, got %s", name, bound, message)
			}
		}
		for _, beyond := range []string{plus(t, d.most, 1), plus(t, d.least, -1)} {
			if ok, _ := accepts(t, value(beyond)); ok {
				t.Errorf("%s: want %s refused", name, beyond)
			}
		}
	}
}

// plus adds to the number before a unit.
func plus(t *testing.T, text string, n int) string {
	t.Helper()
	number := strings.TrimRight(text, "BGKMhimsu")
	value, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(value+n) + text[len(number):]
}

// Each example of a key is one that the program takes.
func TestManPageHasGoodExamples(t *testing.T) {
	for name, d := range keysInPage(t, readPage(t, configPage)) {
		if strings.HasPrefix(d.fallback, "[") || name == "access" {
			continue // its items have some
		}
		if d.example == "" {
			t.Errorf("%s: want an example", name)
			continue
		}
		words := strings.Split(name, ".")
		var text strings.Builder
		indent := ""
		for _, word := range words[:len(words)-1] {
			if name := strings.TrimSuffix(word, "[]"); name != word && !strings.HasPrefix(d.example, "-") {
				text.WriteString(indent + name + ":\n" + indent + "- from: any\n")
			} else {
				text.WriteString(indent + name + ":\n")
			}
			indent += "  "
		}
		text.WriteString(indent + d.example + "\n")
		if strings.HasPrefix(d.example, "join: secret") {
			text.WriteString("join:\n  secret_file: /x\n")
		}
		var others []string // that go with it
		for _, file := range []string{"certificate", "key"} {
			section, _, _ := strings.Cut(name, ".")
			if strings.Contains(name, "tls") && name != section+".tls."+file {
				others = append(others, "UDPRELAY_"+strings.ToUpper(section)+"_TLS_"+strings.ToUpper(file)+"=/x")
			}
		}
		if name == "cluster.listen" {
			others = append(others, "UDPRELAY_CLUSTER_SECRET_FILE=/x")
		}
		out, err := runProgramWith(t, text.String(), others, "check", "-")
		unquoted := strings.NewReplacer(`"`, "", "- ", "")
		if err != nil || !strings.Contains(unquoted.Replace(string(out)), unquoted.Replace(d.example)) {
			t.Errorf("%s: want the example accepted\n%s\ngot %v, %s", name, text.String(), err, out)
		}
	}
}

var literal = regexp.MustCompile(`(?s)\.Bd -literal -offset indent\n(.*?)\.Ed\n`)

// So is each whole file in the page.
func TestManPageHasGoodFiles(t *testing.T) {
	page := strings.ReplaceAll(readPage(t, configPage), `\(dq`, `"`)
	files := literal.FindAllStringSubmatch(page, -1)
	if len(files) == 0 {
		t.Error("want a file in the page")
	}
	for _, file := range files {
		if out, err := runProgramWith(t, file[1], nil, "check", "--quiet", "-"); err != nil {
			t.Errorf("want the file accepted\n%s\ngot %v, %s", file[1], err, out)
		}
	}
}
