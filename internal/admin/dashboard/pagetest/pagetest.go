package pagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

// Patience is how long a test waits for what must happen. The page itself takes
// 8 seconds to see that a daemon is silent which still has its socket.
const Patience = testwait.Patience

// names of Chromium's program, the first that is there is used.
var names = []string{"chromium", "chromium-browser", "google-chrome"}

// Options are what the browser is like.
type Options struct {
	Width, Height int  // of the window in CSS pixels; 0: 1360 by 900
	Phone         bool // touch and a device of few pixels, as wide as Width
	Dark          bool // the system prefers dark
	StillMotion   bool // the system prefers reduced motion
}

// A Page is the dashboard, open in a browser of its own.
type Page struct {
	t       testing.TB
	ctx     context.Context
	address string

	mu       sync.Mutex
	problems []string // guarded by mu
	requests []string // guarded by mu
}

// Open opens the page at address, in a fresh browser that lasts as long as the
// test. Without Chromium the test is skipped, and in CI fails.
func Open(t testing.TB, address string, o Options) *Page {
	t.Helper()
	program := ""
	for _, name := range names {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	testneed.True(t, program != "", "the program chromium")
	if o.Width == 0 {
		o.Width, o.Height = 1360, 900
	}
	p := &Page{t: t, address: address}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(o.Width, o.Height), chromedp.WSURLReadTimeout(Patience))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // root cannot have it
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithListener(p.note))
	t.Cleanup(cancel)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits for its end, so that its directory can be removed
			t.Logf("the browser: %v", err)
		}
	})
	p.ctx = ctx
	if err := chromedp.Do(ctx); err != nil { // starts it, and the first time may have no deadline
		t.Fatalf("the browser: %v", err)
	}
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}, {Name: "prefers-reduced-motion", Value: "no-preference"}}
	if o.Dark {
		features[0].Value = "dark"
	}
	if o.StillMotion {
		features[1].Value = "reduce"
	}
	Call(p, log.Enable, cdp.Empty{})
	Call(p, network.Enable, network.EnableParams{})
	Call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
	Call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(o.Width), Height: int64(o.Height), DeviceScaleFactor: 1, Mobile: o.Phone,
	})
	p.Load()
	return p
}

// Load opens the page, or opens it again.
func (p *Page) Load() {
	p.t.Helper()
	p.do(chromedp.Navigate(p.address))
}

// Reload loads the page again at the address that the browser now shows.
func (p *Page) Reload() {
	p.t.Helper()
	p.do(chromedp.Reload())
}

// note keeps what may not happen, and what was asked for.
func (p *Page) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		p.problems = append(p.problems, "exception: "+text)
	case *runtime.EventConsoleAPICalled:
		switch e.Type {
		case runtime.ConsoleAPICalledTypeError, runtime.ConsoleAPICalledTypeWarning, runtime.ConsoleAPICalledTypeAssert:
			for _, argument := range e.Args {
				p.problems = append(p.problems, fmt.Sprintf("console: %s %s", argument.Value, argument.Description))
			}
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.problems = append(p.problems, fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	}
}

// run runs an action with a deadline.
func run[T any](p *Page, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatalf("the browser: %v", err)
	}
	return result
}

// Call sends the browser a command of its protocol.
func Call[P, R any](p *Page, command cdp.Command[P, R], parameters P) R {
	p.t.Helper()
	return run(p, func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, parameters)
	})
}

func (p *Page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	run(p, chromedp.Steps(steps...))
}

// Clean fails the test if the console has an error or a warning, something was
// thrown or forbidden by the policy, or another origin was asked.
func (p *Page) Clean() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		p.t.Errorf("problem on the page: %s", problem)
	}
	own, err := url.Parse(p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, request := range p.requests {
		if u, err := url.Parse(request); err != nil || u.Scheme != own.Scheme || u.Host != own.Host {
			p.t.Errorf("asked another origin: %s", request)
		}
	}
	if len(p.requests) == 0 {
		p.t.Error("no request was seen")
	}
}

// Forget forgets the problems so far, those of a daemon that was stopped on
// purpose.
func (p *Page) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = nil
}

// Requests returns the paths and queries of the requests so far that begin with
// prefix.
func (p *Page) Requests(prefix string) (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, request := range p.requests {
		if u, err := url.Parse(request); err == nil && strings.HasPrefix(u.RequestURI(), prefix) {
			list = append(list, u.RequestURI())
		}
	}
	return list
}

// Eval returns the value of a JavaScript expression, or of the promise that it
// is.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	return run(p, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Wait waits until an expression holds.
func (p *Page) Wait(format string, args ...any) {
	p.t.Helper()
	condition := fmt.Sprintf(format, args...)
	for deadline := time.Now().Add(Patience); ; {
		if Eval[bool](p, "Boolean("+condition+")") {
			return
		}
		if time.Now().After(deadline) {
			text := Eval[string](p, "document.body.innerText")
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("the page never came to: %s\nProblems: %q\nIt shows:\n%s", condition, p.problems, text)
		}
		time.Sleep(time.Millisecond)
	}
}

// Quote writes s as a JavaScript string.
func Quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always can
	}
	return string(text)
}

// Text returns the text of the element of an id.
func (p *Page) Text(id string) string {
	p.t.Helper()
	return Eval[string](p, "document.getElementById("+Quote(id)+").textContent")
}

// WaitText waits until the text of the element of an id is text.
func (p *Page) WaitText(id, text string) {
	p.t.Helper()
	p.Wait("document.getElementById(%s).textContent === %s", Quote(id), Quote(text))
}

// WaitMatch waits until the text of the element of an id matches a JavaScript
// regular expression.
func (p *Page) WaitMatch(id, expression string) {
	p.t.Helper()
	p.Wait("new RegExp(%s).test(document.getElementById(%s).textContent)", Quote(expression), Quote(id))
}

// Screenshot returns the page as PNG, the whole of it if full.
func (p *Page) Screenshot(full bool) []byte {
	p.t.Helper()
	return Call(p, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &full}).Data
}

// A Node is what a screen reader is told of an element.
type Node struct{ Role, Name string }

// Nodes returns what a screen reader is told of the page, in order, without
// what it ignores.
func (p *Page) Nodes() (nodes []Node) {
	p.t.Helper()
	for _, n := range Call(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if !n.Ignored {
			nodes = append(nodes, Node{value(n.Role), value(n.Name)})
		}
	}
	return nodes
}

func value(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var text string
	if json.Unmarshal(v.Value, &text) != nil {
		return strings.TrimSpace(string(v.Value))
	}
	return text
}

// Eval evaluates a JavaScript expression for what it does.
func (p *Page) Eval(expression string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](expression, chromedp.EvalAwaitPromise))
}
