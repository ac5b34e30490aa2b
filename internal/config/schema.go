package config

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"udprelay/peers"
)

// A key is one key of the configuration. It holds either a value, a section of
// keys, or a list of sections.
type key struct {
	name  string
	value *value
	keys  []key
	list  *list
}

// A value is what a scalar may be.
type value struct {
	want     string   // what would be right, to follow "want"
	words    []string // all that it may be, if it is a word
	number   bool     // quotes would make it a text
	optional bool     // "" stands for none, or for a default
	most     int      // bytes; 0: maxValue
	hidden   bool     // there may be a password in it
	set      setter
	equal    comparer // nil in the items of lists, which count as a whole
}

// A setter checks text and keeps it in the loader, or returns what is wrong
// and what would be right.
type setter func(l *loader, text string) (wrong string)

// A comparer reports whether two configurations have the same value.
type comparer func(a, b *Config) bool

// A list is what the items of a list may be. In the environment and in a flag
// an item is its first key's value; the words of the other keys may follow,
// each after a "=".
type list struct {
	want      string
	item      []key // the first one is required; a single one without a name is the item itself
	most      int   // items
	flagsAdd  bool  // flags add items; otherwise they replace the list
	length    func(*loader) int
	clear     func(*loader, origin)
	add       func(*loader, origin) // an item that the item's keys then set
	itemShape string                // an item, to follow "want"
	equal     comparer
}

const (
	// maxLearned is far more peers than one socket can serve; a larger
	// number is a slip, for 0 stands for no limit.
	maxLearned = 1_000_000
	// maxStatic and maxRules bound what a datagram and a new sender cost.
	maxStatic = 10_000
	maxRules  = 1_000

	leastExpiry, mostExpiry = 100 * time.Millisecond, 24 * time.Hour

	// leastCoalesce is not much longer than it takes to wake up; mostCoalesce is
	// what people begin to notice.
	leastCoalesce, mostCoalesce = 10 * time.Microsecond, 10 * time.Millisecond

	// mostSenders is more than one socket has use for; each takes memory.
	mostSenders = 256

	leastBuffer, mostBuffer = 4 << 10, 1 << 29 // bytes; the kernel doubles it, and keeps it in an int

	// mostDatagrams and mostBytes, in a second, are the largest round numbers
	// that fit an int of 32 bits; who needs more needs no limit.
	mostDatagrams         = 1_000_000_000
	leastBytes, mostBytes = 1, 1 << 30

	// maxSocketName is what Linux has room for in sun_path, see unix(7), but
	// for the NUL at its end.
	maxSocketName = 107 // bytes
)

// schema is every key there is, in the order of config.yaml.
var schema = []key{
	{name: "listen", value: &value{want: listenWant, set: setListen, equal: equalField(func(c *Config) *string { return &c.Listen })}},
	{name: "peers", keys: []key{
		{name: "expiry", value: duration("60s, 5m or 1h30m", leastExpiry, mostExpiry, func(c *Config) *time.Duration { return &c.Peers.Expiry })},
		{name: "max", value: limit(maxLearned, func(c *Config) *int { return &c.Peers.Max })},
		{name: "max_per_address", value: limit(maxLearned, func(c *Config) *int { return &c.Peers.MaxPerAddress })},
		{name: "joins_per_second", value: limit(maxLearned, func(c *Config) *int { return &c.Peers.JoinsPerSecond })},
		{name: "joins_per_second_per_address", value: limit(maxLearned, func(c *Config) *int { return &c.Peers.JoinsPerSecondPerAddress })},
		{name: "static", list: &staticList},
	}},
	{name: "access", list: &accessList},
	{name: "join", keys: []key{
		{name: "secret_file", value: fileName(func(c *Config) *string { return &c.Join.SecretFile })},
	}},
	{name: "limits", keys: []key{
		{name: "peer_datagrams_per_second", value: limit(mostDatagrams, func(c *Config) *int { return &c.Limits.PeerDatagramsPerSecond })},
		{name: "peer_bytes_per_second", value: sizeOrNone(leastBytes, mostBytes, func(c *Config) *int { return &c.Limits.PeerBytesPerSecond })},
		{name: "egress_bytes_per_second", value: sizeOrNone(leastBytes, mostBytes, func(c *Config) *int { return &c.Limits.EgressBytesPerSecond })},
	}},
	{name: "socket", keys: []key{
		{name: "receive_buffer", value: size(leastBuffer, mostBuffer, func(c *Config) *int { return &c.Socket.ReceiveBuffer })},
		{name: "send_buffer", value: size(leastBuffer, mostBuffer, func(c *Config) *int { return &c.Socket.SendBuffer })},
		{name: "senders", value: number(mostSenders, orPerCore, func(c *Config) *int { return &c.Socket.Senders })},
		{name: "trains", value: word(func(c *Config) *string { return &c.Socket.Trains }, same(TrainsAuto, TrainsOff)...)},
		{name: "coalesce", value: durationOrNone("200us or 1ms", leastCoalesce, mostCoalesce, func(c *Config) *time.Duration { return &c.Socket.Coalesce })},
	}},
	{name: "gateway", keys: gatewayKeys},
	{name: "cluster", keys: clusterKeys},
	{name: "admin", keys: []key{
		{name: "socket", value: absoluteOrDefault("/run/udprelay/control.sock", maxSocketName, func(c *Config) *string { return &c.Admin.Socket })},
		{name: "group", value: groupName(func(c *Config) *string { return &c.Admin.Group })},
		{name: "http", value: &value{want: httpWant, optional: true, set: setHTTP, equal: equalOrNone(func(c *Config) *string { return &c.Admin.HTTP })}},
		{name: "metrics_per_peer", value: yesOrNo(func(c *Config) *bool { return &c.Admin.MetricsPerPeer })},
	}},
	{name: "state", keys: []key{
		{name: "file", value: absoluteOrDefault("/var/lib/udprelay/peers", maxValue, func(c *Config) *string { return &c.State.File })},
	}},
	{name: "log", keys: []key{
		{name: "level", value: word(func(c *Config) *slog.Level { return &c.Log.Level },
			named[slog.Level]{"debug", slog.LevelDebug}, named[slog.Level]{"info", slog.LevelInfo},
			named[slog.Level]{"warn", slog.LevelWarn}, named[slog.Level]{"error", slog.LevelError})},
		{name: "format", value: word(func(c *Config) *string { return &c.Log.Format }, same(FormatText, FormatJSON)...)},
	}},
}

var staticList = list{
	want:      `a list of peers such as "- address: collector.example:2055", or [] for none`,
	itemShape: `the key address, such as "address: collector.example:2055"`,
	most:      maxStatic,
	flagsAdd:  true,
	item:      []key{{name: "address", value: &value{want: staticWant, set: setStatic}}},
	length:    func(l *loader) int { return len(l.static) },
	equal:     func(a, b *Config) bool { return slices.Equal(a.Peers.Static, b.Peers.Static) },
	clear:     func(l *loader, _ origin) { l.config.Peers.Static, l.static = nil, nil },
	add: func(l *loader, at origin) {
		l.config.Peers.Static = append(l.config.Peers.Static, StaticPeer{})
		l.static = append(l.static, addressed{at: at})
	},
}

var accessList = list{
	want:      `a list of rules such as "- from: private", or [] for nobody`,
	itemShape: `the keys of a rule, such as "from: private"`,
	most:      maxRules,
	item: []key{
		{name: "from", value: &value{want: fromWant, set: setFrom}},
		{name: "may", value: &value{want: orList(peers.MayWords), words: peers.MayWords, set: setMay}},
		{name: "join", value: &value{want: orList(peers.JoinWords), words: peers.JoinWords, set: setJoin}},
	},
	length: func(l *loader) int { return len(l.rules) },
	equal: func(a, b *Config) bool {
		return slices.EqualFunc(a.Access, b.Access, func(x, y peers.Rule) bool { return reflect.DeepEqual(x, y) })
	},
	clear: func(l *loader, at origin) { l.config.Access, l.rules, l.accessAt = nil, nil, at },
	add: func(l *loader, at origin) {
		l.config.Access = append(l.config.Access, peers.Rule{May: peers.MayBoth})
		l.rules = append(l.rules, at)
	},
}

// plain reports whether the items are values and no sections.
func (l *list) plain() bool { return l.item[0].name == "" }

// An addressed is what the checks of the whole need to know of an item that is
// an address.
type addressed struct {
	at   origin
	addr endpoint // without a port: not valid
}

func setListen(l *loader, text string) (wrong string) {
	l.listen, wrong = parseToListen(text, listenWant, judgeListen)
	l.config.Listen = text
	return wrong
}

func setHTTP(l *loader, text string) (wrong string) {
	l.http, wrong = parseOrNone(text, httpWant, judgeHTTP)
	l.config.Admin.HTTP = text
	return wrong
}

// equalOrNone compares what field returns, and takes the two ways to write none
// for the same.
func equalOrNone(field func(*Config) *string) comparer {
	return func(a, b *Config) bool { return given(*field(a)) == given(*field(b)) }
}

// given returns text, or "" if it is the word for none.
func given(text string) string {
	if text == None {
		return ""
	}
	return text
}

func setStatic(l *loader, text string) (wrong string) {
	last := len(l.static) - 1
	l.static[last].addr, wrong = parseToReach(text, staticWant, "the address of one peer")
	l.config.Peers.Static[last].Address = text
	return wrong
}

var fromWant = fmt.Sprintf("%s, an address, or a prefix such as 203.0.113.0/24", strings.Join(peers.FromWords, ", "))

// inOurWords puts what is wrong and what would be right apart as all messages
// of this package do.
var inOurWords = strings.NewReplacer(": want ", "; want ", ": write ", "; write ")

func setFrom(l *loader, text string) string {
	rule := &l.config.Access[len(l.config.Access)-1]
	cover, err := peers.ParseFrom(text)
	if err != nil {
		if near := closest(text, peers.FromWords); near != "" {
			return fmt.Sprintf("unknown word %q; did you mean %q?", text, near)
		}
		return inOurWords.Replace(err.Error())
	}
	rule.From, rule.Cover = text, slices.Clone(cover)
	return ""
}

func setMay(l *loader, text string) string {
	may, err := peers.ParseMay(text)
	if err != nil {
		return unknownWord(text, peers.MayWords)
	}
	l.config.Access[len(l.config.Access)-1].May = may
	return ""
}

func setJoin(l *loader, text string) string {
	join, err := peers.ParseJoin(text)
	if err != nil {
		return unknownWord(text, peers.JoinWords)
	}
	l.config.Access[len(l.config.Access)-1].Join = join
	return ""
}

// want says what would be right for k.
func (k *key) want() string {
	switch {
	case k.value != nil:
		return k.value.want
	case k.list != nil:
		return k.list.want
	}
	return "keys below it such as " + k.keys[0].name
}

// wholeFile stands for the top level, which has no name.
var wholeFile = key{keys: schema}

// visit calls f for each key that holds a value or a list, with its path;
// those of a list's items come after the list, such as access[].from.
func visit(keys []key, path string, f func(k *key, path string)) {
	for i := range keys {
		k, path := &keys[i], join(path, keys[i].name)
		if k.keys == nil {
			f(k, path)
		}
		if k.list != nil && !k.list.plain() {
			visit(k.list.item, path+"[]", f)
		}
		visit(k.keys, path, f)
	}
}

func join(path, name string) string {
	switch {
	case path == "":
		return name
	case name == "": // an item that is a value
		return path
	}
	return path + "." + name
}
