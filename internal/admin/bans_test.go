package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"udprelay/peers"
)

// banOf returns a ban that began at a time that all tests know.
func banOf(from netip.Prefix, duration time.Duration, reason string) Ban {
	began := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	b := Ban{From: from, Since: Time{began}, Reason: reason}
	if duration > 0 {
		b.Until = &Time{began.Add(duration)}
	}
	return b
}

// post asks the daemon behind client as curl -d does, and returns what it
// answers.
func post(t *testing.T, client Client, path, body string) (status int, answer string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", client.Socket)
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://relay/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

func TestWhoIsToBeKeptOutArrives(t *testing.T) {
	c := &control{}
	client, _ := serving(t, c)
	for _, test := range []struct{ path, body, want string }{
		{"kick", `{"address":"192.0.2.7:40000"}`, "kick 192.0.2.7/32 port 40000"},
		{"kick", `{"address":"[::ffff:192.0.2.7]:9"}`, "kick 192.0.2.7/32 port 9"},
		{"kick", `{"address":"192.0.2.7"}`, "kick 192.0.2.7/32 port 0"},
		{"kick", `{"address":"192.0.2.7/24"}`, "kick 192.0.2.0/24 port 0"},
		{"kick", `{"address":"[fe80::1%2]:9"}`, "kick fe80::1/128 port 9"},
		{"kick", `{"address":"fe80::1%eth0"}`, "kick fe80::1/128 port 0"},
		{"ban", `{"from":"192.0.2.7"}`, "ban 192.0.2.7/32 for 0s: "},
		{"ban", `{"from":"192.0.2.7/24","for_seconds":3600,"reason":"floods, \u00e4"}`, "ban 192.0.2.0/24 for 1h0m0s: floods, ä"},
		{"ban", ` {"reason" : "", "for_seconds" : 1.5, "from" : "::ffff:192.0.2.7"} ` + "\n", "ban 192.0.2.7/32 for 1.5s: "},
		{"ban", `{"from":"::ffff:192.0.2.7/104","for_seconds":0}`, "ban 192.0.0.0/8 for 0s: "},
		{"ban", `{"from":"[2001:db8::7]","for_seconds":1}`, "ban 2001:db8::7/128 for 1s: "},
		{"ban", `{"from":"0.0.0.0/0","for_seconds":3.1536e9}`, "ban 0.0.0.0/0 for 876000h0m0s: "},
		{"ban", `{"from":"::/0","reason":"` + strings.Repeat("x", peers.MaxReason) + `"}`, "ban ::/0 for 0s: " + strings.Repeat("x", peers.MaxReason)},
		{"ban", `{"from":"192.0.2.7","cluster":false}`, "ban 192.0.2.7/32 for 0s: "},
		{"ban", `{"cluster": true,"from":"192.0.2.7","reason":"x"}`, "ban 192.0.2.7/32 for 0s everywhere: x"},
		{"unban", `{"from":"2001:db8:ffff::/32"}`, "unban 2001:db8::/32"},
		{"unban", `{"from":"192.0.2.7","cluster":true}`, "unban 192.0.2.7/32 everywhere"},
	} {
		c.asked = nil
		if status, answer := post(t, client, test.path, test.body); status != http.StatusOK || len(c.asked) != 1 || c.asked[0] != test.want {
			t.Errorf("%s %s: want %q, got %q and %d %s", test.path, test.body, test.want, c.asked, status, answer)
		}
	}
}

func TestABodyThatIsWrongIsToldRight(t *testing.T) {
	c := &control{}
	client, _ := serving(t, c)
	const banBody = `{"from":"192.0.2.0/24","for_seconds":3600,"reason":"it floods the room","cluster":false}`
	const noPrefix = " is no address and no prefix; want one such as 192.0.2.7, 2001:db8::7 or 192.0.2.0/24"
	noTime := func(value string) string {
		return fmt.Sprintf("for_seconds: %q is no time that a ban can last; want a number of seconds from 1 to 3153600000, or 0 for ever", value)
	}
	for _, test := range []struct{ path, body, want string }{
		{"kick", ``, `the body is no JSON object; want one such as {"address":"192.0.2.7:40000"}`},
		{"ban", `from=192.0.2.7`, "the body is no JSON object; want one such as " + banBody},
		{"ban", `"192.0.2.7"`, "the body is no JSON object; want one such as " + banBody},
		{"ban", `[{"from":"192.0.2.7"}]`, "the body is no JSON object; want one such as " + banBody},
		{"ban", `{"from":"192.0.2.7"`, "the body ends within the JSON object; want one such as " + banBody},
		{"ban", `{"from":`, "the body ends within the JSON object; want one such as " + banBody},
		{"ban", `{"from":"192.0.2.7",}`, "the body is no JSON: invalid character '}' looking for beginning of object key string; want one such as " + banBody},
		{"ban", `{from:"192.0.2.7"}`, "the body is no JSON: invalid character 'f'"},
		{"ban", `{"from":"192.0.2.7"}{}`, "something follows the JSON object; want nothing"},
		{"ban", `{"from":"192.0.2.7"} x`, "something follows the JSON object; want nothing"},
		{"ban", "{\"from\":\"\xff\"}", "the body is no UTF-8; want one such as " + banBody},
		{"ban", `{}`, "from is missing; want one such as " + banBody},
		{"ban", `{"for_seconds":60}`, "from is missing; want one such as " + banBody},
		{"ban", `{"From":"192.0.2.7"}`, `unknown field "From"; want from, for_seconds, reason, cluster`},
		{"ban", `{"from":"192.0.2.7","for":60}`, `unknown field "for"; want from, for_seconds, reason, cluster`},
		{"ban", `{"from":"192.0.2.7","from":"192.0.2.8"}`, "from is there twice; want it once"},
		{"ban", `{"from":null}`, `from: "null" is no text; want it in double quotes`},
		{"ban", `{"from":["192.0.2.7"]}`, `from: "[\"192.0.2.7\"]" is no text; want it in double quotes`},
		{"ban", `{"from":"192.0.2.7:40000"}`, `from: "192.0.2.7:40000" has a port, and a ban is for all ports of an address; want 192.0.2.7`},
		{"ban", `{"from":"[2001:db8::7]:40000"}`, `from: "[2001:db8::7]:40000" has a port, and a ban is for all ports of an address; want 2001:db8::7`},
		{"unban", `{"from":"fe80::1%eth0"}`, `from: "fe80::1%eth0" has a zone, and a ban is for all of them; want fe80::1`},
		{"ban", `{"from":"fe80::1%eth0/64"}`, `from: "fe80::1%eth0/64"` + noPrefix},
		{"ban", `{"from":"::ffff:0:0/95"}`, `from: "::ffff:0:0/95"` + noPrefix},
		{"ban", `{"from":"192.0.2.0/33"}`, `from: "192.0.2.0/33"` + noPrefix},
		{"ban", `{"from":"any"}`, `from: "any"` + noPrefix},
		{"unban", `{"from":""}`, `from: ""` + noPrefix},
		{"kick", `{"address":"192.0.2.7:"}`, `address: "192.0.2.7:" is no address and no prefix; want one such as 192.0.2.7:40000, [2001:db8::7]:40000, 192.0.2.7 or 192.0.2.0/24`},
		{"ban", `{"from":"192.0.2.7","for_seconds":"1h"}`, noTime(`"1h"`)},
		{"ban", `{"from":"192.0.2.7","for_seconds":-1}`, noTime("-1")},
		{"ban", `{"from":"192.0.2.7","for_seconds":0.999}`, noTime("0.999")},
		{"ban", `{"from":"192.0.2.7","for_seconds":1e-300}`, noTime("1e-300")},
		{"ban", `{"from":"192.0.2.7","for_seconds":3153600001}`, noTime("3153600001")},
		{"ban", `{"from":"192.0.2.7","for_seconds":1e-400}`, noTime("1e-400")},
		{"ban", `{"from":"192.0.2.7","for_seconds":1e999}`, noTime("1e999")},
		{"ban", `{"from":"192.0.2.7","for_seconds":null}`, noTime("null")},
		{"ban", `{"from":"192.0.2.7","reason":7}`, `reason: "7" is no text; want it in double quotes`},
		{"ban", `{"from":"192.0.2.7","reason":"a\nb"}`, `reason: the character '\n' cannot be shown; want letters, digits, signs and blanks`},
		{"ban", `{"from":"192.0.2.7","reason":"\u202etxt"}`, `reason: the character '\u202e' cannot be shown; want letters, digits, signs and blanks`},
		{"ban", `{"from":"192.0.2.7","reason":"` + strings.Repeat("ä", peers.MaxReason/2) + `x"}`, "reason: it has 257 bytes; want 256 at most"},
		{"ban", `{"from":"192.0.2.7","cluster":null}`, `cluster: "null" is neither true nor false; want one of them`},
		{"unban", `{"from":"192.0.2.7","cluster":"true"}`, `cluster: "\"true\"" is neither true nor false; want one of them`},
		{"unban", `{"from":"192.0.2.7","cluster":1}`, `cluster: "1" is neither true nor false; want one of them`},
		{"ban?for=1h", banBody, `unknown parameter "for"; want none`},
	} {
		status, answer := post(t, client, test.path, test.body)
		var failure Failure
		if err := json.Unmarshal([]byte(answer), &failure); err != nil || status != http.StatusBadRequest || !strings.HasPrefix(failure.Message, test.want) || failure.Code != 64 {
			t.Errorf("%s %s: want %q with 400 and 64, got %d %s", test.path, test.body, test.want, status, answer)
		}
	}
	status, answer := post(t, client, "ban", `{"from":"192.0.2.7"}`+strings.Repeat(" ", mostBody))
	if want := `{"message":"the body is too long; want 16384 bytes at most","exit_code":64}` + "\n"; status != http.StatusRequestEntityTooLarge || answer != want {
		t.Errorf("want %s with 413, got %d %s", want, status, answer)
	}
	if len(c.asked) > 0 {
		t.Errorf("want nobody kept out by all that, got %v", c.asked)
	}
}

// A body of which only a part comes, though its length was said, does nothing.
func TestABodyThatEndsTooEarlyDoesNothing(t *testing.T) {
	c := &control{}
	client, stop := serving(t, c)
	conn, err := net.Dial("unix", client.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /api/v1/ban HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"from\":\"192.0.2.7\"}"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("want 400, got %s", answer)
	}
	stop()
	if len(c.asked) > 0 {
		t.Errorf("want nobody banned, got %v", c.asked)
	}
}

func TestAClientKeepsSomebodyOut(t *testing.T) {
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	client, _ := serving(t, &control{})
	kicked, err := client.Kick(t.Context(), "192.0.2.7:40000")
	if diff := cmp.Diff(Kicked{[]netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:40000")}, 1}, kicked, equateAddresses); diff != "" || err != nil {
		t.Errorf("kick: %v (-want +got):\n%s", err, diff)
	}
	for _, cluster := range []bool{false, true} {
		reached := reachedIf(cluster)
		reached.complete()
		banned, err := client.Ban(t.Context(), "192.0.2.7/24", 90*time.Minute, "a \"b\" <c>", cluster)
		if diff := cmp.Diff(Banned{banOf(prefix, 90*time.Minute, "a \"b\" <c>"), 3, 1, true, reached}, banned, equateAddresses); diff != "" || err != nil {
			t.Errorf("ban: %v (-want +got):\n%s", err, diff)
		}
		unbanned, err := client.Unban(t.Context(), "192.0.2.0/24", cluster)
		if diff := cmp.Diff(Unbanned{banOf(prefix, 0, ""), []Ban{}, reached}, unbanned, equateAddresses); diff != "" || err != nil {
			t.Errorf("unban: %v (-want +got):\n%s", err, diff)
		}
	}
	for _, duration := range []time.Duration{1, time.Second - 1, MostBan + time.Second, -time.Second} {
		_, err := client.Ban(t.Context(), "192.0.2.7", duration, "", false)
		if failure := (*Failure)(nil); !errors.As(err, &failure) || failure.Code != 64 {
			t.Errorf("%v: want a failure with code 64, got %v", duration, err)
		}
	}
}

var equateAddresses = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})

func TestWhyNobodyIsKeptOutArrives(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		want   string
	}{
		{&Failure{Message: "there is no peer", Way: "look", Code: 1}, 404, `{"message":"there is no peer","hint":"look","exit_code":1}`},
		{&Failure{Message: "odd", Code: 64}, 400, `{"message":"odd","exit_code":64}`},
		{fmt.Errorf("no: %w", &Failure{Message: "full", Way: "make room", Code: 69}), 409, `{"message":"no: full","hint":"make room","exit_code":69}`},
		{&Failure{Message: "ours", Code: 70}, 500, `{"message":"ours","exit_code":70}`},
		{errors.New("no luck"), 500, `{"message":"no luck","exit_code":1}`},
	} {
		client, _ := serving(t, &control{err: test.err})
		for path, body := range map[string]string{"kick": `{"address":"192.0.2.7"}`, "ban": `{"from":"192.0.2.7"}`, "unban": `{"from":"192.0.2.7"}`} {
			if status, answer := post(t, client, path, body); status != test.status || answer != test.want+"\n" {
				t.Errorf("%s: want %d %s, got %d %s", path, test.status, test.want, status, answer)
			}
		}
	}
}

func TestBansAreTold(t *testing.T) {
	d := &daemonOf{bans: BanList{Max: 1000}}
	_, handler := reading(d)
	if code, body := get(t, handler, "/api/v1/bans"); code != http.StatusOK || body != `{"bans":[],"max":1000}`+"\n" {
		t.Errorf("want an empty list, got %d %s", code, body)
	}
	d.bans.Bans = []Ban{banOf(netip.MustParsePrefix("192.0.2.0/24"), time.Hour, "floods"), banOf(netip.MustParsePrefix("2001:db8::/32"), 0, "")}
	d.bans.Bans[1].Cluster = "north"
	const want = `{"bans":[{"from":"192.0.2.0/24","since":"2026-11-23T12:00:00.000Z","until":"2026-11-23T13:00:00.000Z","reason":"floods","cluster":""},` +
		`{"from":"2001:db8::/32","since":"2026-11-23T12:00:00.000Z","until":null,"reason":"","cluster":"north"}],"max":1000}` + "\n"
	if code, body := get(t, handler, "/api/v1/bans"); code != http.StatusOK || body != want {
		t.Errorf("want %s, got %d %s", want, code, body)
	}
	list, err := asking(t, handler).Bans(t.Context())
	if diff := cmp.Diff(d.bans, list, equateAddresses); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// What is asked at admin.http changes nothing.
func TestOnlyTheControlSocketKeepsSomebodyOut(t *testing.T) {
	_, handler := reading(&daemonOf{})
	for _, path := range []string{"kick", "ban", "unban"} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/api/v1/"+path, strings.NewReader(`{"from":"192.0.2.7"}`)))
		if recorder.Code != http.StatusNotFound {
			t.Errorf("%s: want 404, got %d", path, recorder.Code)
		}
	}
}

// Whatever the body is: what is taken from it is what a ban can be, and it is
// JSON that package json reads as the same.
func FuzzBanBody(f *testing.F) {
	f.Add([]byte(`{"from":"192.0.2.7/24","for_seconds":3600,"reason":"floods"}`))
	f.Add([]byte(`{"from":"::ffff:192.0.2.7","for_seconds":1e0,"reason":"\ud83d\ude00"}`))
	f.Add([]byte(`{"from":"[2001:db8::7]","for_seconds":-0}{`))
	f.Add([]byte(`{"from":"192.0.2.7","cluster":true}`))
	f.Add([]byte(`{"from":"fe80::1%2","for_seconds":null,"x":[{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var wish BanWish
		if err := parseBody(body, wish.fields()); err != nil {
			if text := err.Error(); text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Fatalf("%q: want an error in one line, got %q", body, text)
			}
			return
		}
		if !wish.From.IsValid() || wish.From != wish.From.Masked() || wish.From.Addr().Is4In6() || wish.From.Addr().Zone() != "" {
			t.Errorf("%q: got the prefix %v", body, wish.From)
		}
		if again, err := ParsePrefix(wish.From.String()); again != wish.From || err != nil {
			t.Errorf("%q: want %v again, got %v, %v", body, wish.From, again, err)
		}
		if wish.Duration != 0 && (wish.Duration < time.Second || wish.Duration > MostBan) {
			t.Errorf("%q: got %v", body, wish.Duration)
		}
		if err := CheckReason(wish.Reason); err != nil {
			t.Errorf("%q: got the reason %q: %v", body, wish.Reason, err)
		}
		var read struct {
			From, Reason string
			For          float64 `json:"for_seconds"`
			Cluster      bool
		}
		if err := json.Unmarshal(body, &read); err != nil || read.Reason != wish.Reason || read.Cluster != wish.Cluster || read.For == 0 != (wish.Duration == 0) {
			t.Errorf("%q: want %+v, got %+v, %v", body, wish, read, err)
		}
	})
}

// What ParsePrefix takes ParsePeers takes, too.
func FuzzParsePeers(f *testing.F) {
	for _, text := range []string{"192.0.2.7:40000", "[fe80::1%2]:9", "192.0.2.7/24", "::ffff:192.0.2.0/120", "[::1]", "::ffff:0:0/95", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		from, port, err := ParsePeers(text)
		prefix, notPrefix := ParsePrefix(text)
		switch {
		case err == nil && (!from.IsValid() || from != from.Masked() || from.Addr().Is4In6() || port != 0 && !from.IsSingleIP()):
			t.Errorf("%q: got %v, port %d", text, from, port)
		case notPrefix == nil && (err != nil || from != prefix || port != 0):
			t.Errorf("%q: want %v, got %v, port %d, %v", text, prefix, from, port, err)
		}
	})
}
