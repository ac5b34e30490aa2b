package proof

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSenderThatGivesItsCookieBackProvesItsAddress(t *testing.T) {
	for _, from := range []string{"192.0.2.1:40000", "[2001:db8::1]:1", "[fe80::1%eth0]:65535"} {
		addr := netip.MustParseAddrPort(from)
		for _, secret := range [][]byte{nil, theSecret} { // what the relay has
			j := NewJar(secret)
			cookie := cookieFor(t, j, addr, 0)
			proof := Join(cookie, nil)
			if want := "udprelay join " + cookie + "\n"; string(proof) != want {
				t.Errorf("Join: want %q, got %q", want, proof)
			}
			for range 3 { // the relay keeps nothing, so a proof may come twice
				wantCheck(t, j, proof, addr, false, 0, Proved)
			}
			wantCheck(t, j, proof, addr, true, 0, BadProof) // not of the secret
		}
	}
}

func TestSenderThatKnowsTheSecretProvesIt(t *testing.T) {
	j := NewJar(theSecret)
	cookie := cookieFor(t, j, someone, 0)
	proof := Join(cookie, theSecret)
	if want := "udprelay join " + cookie + " " + macOf(cookie, theSecret) + "\n"; string(proof) != want {
		t.Errorf("Join: want %q, got %q", want, proof)
	}
	wantCheck(t, j, proof, someone, true, 0, Proved)
	// Who is asked for less may give more, right or wrong: he may not know which
	// rule covers him.
	wantCheck(t, j, proof, someone, false, 0, Proved)
	wantCheck(t, j, Join(cookie, []byte("another")), someone, false, 0, Proved)
	wantCheck(t, NewJar(nil), proof, someone, false, 0, BadProof) // the cookie of another relay
}

func TestWrongSecretProvesNothing(t *testing.T) {
	j := NewJar(theSecret)
	cookie := cookieFor(t, j, someone, 0)
	for _, wrong := range []string{"", "c", "correct horse battery stapl", "correct horse battery staple\n", "Correct horse battery staple"} {
		wantCheck(t, j, Join(cookie, []byte(wrong)), someone, true, 0, BadProof)
	}
	// The HMAC of another cookie, right in itself.
	other := cookieFor(t, j, netip.MustParseAddrPort("192.0.2.1:40001"), 0)
	wantCheck(t, j, []byte(joinPrefix+cookie+" "+macOf(other, theSecret)+"\n"), someone, true, 0, BadProof)
}

func TestNobodyKnowsTheSecretOfARelayThatHasNone(t *testing.T) {
	for _, none := range [][]byte{nil, {}} {
		j := NewJar(none)
		cookie := cookieFor(t, j, someone, 0)
		for _, secret := range [][]byte{nil, {}, {0}, theSecret} {
			wantCheck(t, j, Join(cookie, secret), someone, true, 0, BadProof)
			wantCheck(t, j, Join(cookie, secret), someone, false, 0, Proved)
		}
	}
}

// What is overheard, or fetched at one address, is of no use at another.
func TestCookieIsForOneAddressPortAndZone(t *testing.T) {
	all := []string{
		"192.0.2.1:40000", "192.0.2.1:40001", "192.0.2.2:40000", "[2001:db8::1]:40000", "[2001:db8::2]:40000", "[2001:db8::1]:40001",
		"[fe80::1]:40000", "[fe80::1%eth0]:40000", "[fe80::1%eth1]:40000", "[fe80::1%eth]:40000", "[fe80::1%0]:40000",
		"[::c000:201]:40000", "0.0.0.0:0", "[::]:0",
	}
	j := NewJar(theSecret)
	seen := map[string]string{}
	for _, from := range all {
		cookie := cookieFor(t, j, netip.MustParseAddrPort(from), 0)
		if other, ok := seen[cookie]; ok {
			t.Errorf("want %s and %s to have cookies of their own, got %s for both", from, other, cookie)
		}
		seen[cookie] = from
		for _, to := range all {
			want := BadProof
			if to == from {
				want = Proved
			}
			wantCheck(t, j, Join(cookie, theSecret), netip.MustParseAddrPort(to), true, 0, want)
			wantCheck(t, j, Join(cookie, nil), netip.MustParseAddrPort(to), false, 0, want)
		}
	}
}

func TestRelaysDoNotKnowEachOthersCookies(t *testing.T) {
	cookie := cookieFor(t, NewJar(theSecret), someone, 0)
	wantCheck(t, NewJar(theSecret), Join(cookie, theSecret), someone, true, 0, BadProof)
}

func TestCookieIsGoodForOneToTwoPeriods(t *testing.T) {
	const period = int64(Period)
	rapid.Check(t, func(t *rapid.T) {
		// Any moment, so that the jar's first look at the clock may be late.
		began := period*rapid.SampledFrom([]int64{0, 1, 2, 3, 1000, 25_000_000}).Draw(t, "period") + rapid.OneOf(
			rapid.SampledFrom([]int64{0, 1, period - 1}), rapid.Int64Range(0, period-1)).Draw(t, "within")
		j := NewJar(nil)
		proof := Join(cookieFor(t, j, someone, began), nil)
		passed := int64(0)
		for _, step := range rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom([]int64{0, 1, period - 1, period, period + 1, 2*period - 1, 2 * period, 3 * period, 1000 * period}),
			rapid.Int64Range(0, 3*period)), 1, 8).Draw(t, "steps") {
			passed += step
			now := began + passed
			if rapid.Bool().Draw(t, "busy") { // others are answered meanwhile, or all is silent
				j.Answer(netip.MustParseAddrPort("192.0.2.9:9"), make([]byte, 100), now)
			}
			// It is made in one period, and good in that and the next.
			want := Proved
			if now/period-began/period >= 2 {
				want = BadProof
			}
			switch {
			case passed <= period && want != Proved:
				t.Fatal("the test is wrong: a cookie must be good for a period")
			case passed >= 2*period && want == Proved:
				t.Fatal("the test is wrong: a cookie must be bad after two periods")
			}
			wantCheck(t, j, proof, someone, false, now, want)
		}
	})
}

func TestCookieIsBadAfterALongSilence(t *testing.T) {
	for _, silence := range []time.Duration{2 * Period, 3 * Period, 24 * time.Hour, 100 * 365 * 24 * time.Hour} {
		j := NewJar(theSecret)
		cookie := cookieFor(t, j, someone, 1)
		wantCheck(t, j, Join(cookie, theSecret), someone, true, int64(silence)+1, BadProof)
		wantCheck(t, j, Join(cookie, theSecret), someone, true, int64(silence)+2, BadProof)
		again := cookieFor(t, j, someone, int64(silence)+3)
		if again == cookie {
			t.Errorf("want another cookie after %v, got the same", silence)
		}
		wantCheck(t, j, Join(again, theSecret), someone, true, int64(silence)+4, Proved)
	}
}

func TestKeysChangeWithThePeriodAndNotBefore(t *testing.T) {
	j := NewJar(nil)
	first := cookieFor(t, j, someone, 0)
	if last := cookieFor(t, j, someone, int64(Period)-1); last != first {
		t.Errorf("want one cookie all the period, got %s and %s", first, last)
	}
	second := cookieFor(t, j, someone, int64(Period))
	if second == first {
		t.Error("want another cookie in the next period, got the same")
	}
	for _, cookie := range []string{first, second} { // both are good now
		wantCheck(t, j, Join(cookie, nil), someone, false, int64(Period), Proved)
	}
}

// Just the proof that was asked for, to the byte; only a line's end after it
// is free.
func TestNoChangedProofProves(t *testing.T) {
	j := NewJar(theSecret)
	cookie := cookieFor(t, j, someone, 0)
	rapid.Check(t, func(t *rapid.T) {
		withSecret := rapid.Bool().Draw(t, "with secret")
		right := Join(cookie, nil)
		if withSecret {
			right = Join(cookie, theSecret)
		}
		wantCheck(t, j, right, someone, withSecret, 0, Proved)
		text := bytes.TrimSuffix(right, []byte("\n"))
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		changed := bytes.Clone(text)
		var what string
		switch rapid.IntRange(0, 5).Draw(t, "change") {
		case 0:
			what = "a bit flipped"
			changed[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case 1:
			what = "a byte replaced"
			changed[at] = rapid.Byte().Filter(func(b byte) bool { return b != text[at] }).Draw(t, "byte")
		case 2:
			what = "a byte added"
			changed = append(append(bytes.Clone(text[:at]), rapid.Byte().Draw(t, "byte")), text[at:]...)
		case 3:
			what = "a byte left out"
			changed = append(changed[:at], text[at+1:]...)
		case 4:
			what = "truncated"
			changed = changed[:at]
		case 5:
			what = "extended"
			changed = append(changed, rapid.SampledFrom([]byte("0af\x00\t_")).Draw(t, "byte"))
		}
		changed = append(changed, "\n"...)
		if got := j.Check(changed, someone, withSecret, 0); got == Proved {
			t.Fatalf("%s: want a bad proof or none of %q, which is not %q, got it proved", what, changed, right)
		}
	})
}

func TestEveryBitOfAProofCounts(t *testing.T) {
	j := NewJar(theSecret)
	right := bytes.TrimSuffix(Join(cookieFor(t, j, someone, 0), theSecret), []byte("\n"))
	for i := range len(right) * 8 {
		flipped := bytes.Clone(right)
		flipped[i/8] ^= 1 << (i % 8)
		if got := j.Check(flipped, someone, true, 0); got == Proved {
			t.Errorf("bit %d flipped: want a bad proof or none of %q, got it proved", i, flipped)
		}
	}
}

// What people type, and what tools add.
func TestOnlyTheEndOfAProofIsFree(t *testing.T) {
	j := NewJar(theSecret)
	cookie := cookieFor(t, j, someone, 0)
	mac := macOf(cookie, theSecret)
	for _, test := range []struct {
		payload      string
		open, secret Verdict // what it proves without the secret and with it
	}{
		{"udprelay join " + cookie, Proved, BadProof},
		{"udprelay join " + cookie + "\n", Proved, BadProof},
		{"udprelay join " + cookie + "\r\n", Proved, BadProof},
		{"udprelay join " + cookie + " \n", Proved, BadProof},
		{"udprelay join " + cookie + " nonsense\n", Proved, BadProof},
		{"udprelay join " + cookie + " " + mac, Proved, Proved},
		{"udprelay join " + cookie + " " + mac + "\n", Proved, Proved},
		{"udprelay join " + cookie + " " + mac + "\r\n", Proved, Proved},
		{"udprelay join " + cookie + " " + mac + " \n", Proved, Proved},
		{"udprelay join " + cookie + " " + mac + "    \n", NoProof, NoProof}, // longer than any that is right
		{"udprelay join " + cookie + "  " + mac + "\n", Proved, BadProof},
		{"udprelay join " + cookie + " " + strings.ToUpper(mac) + "\n", Proved, BadProof},
		{"udprelay join " + cookie + " " + mac + " x", Proved, BadProof},
		{"udprelay join " + cookie + " " + cookie + "\n", Proved, BadProof},
		{"udprelay join " + mac + "\n", BadProof, BadProof},
		{"udprelay join " + mac + " " + cookie + "\n", BadProof, BadProof},
		{"udprelay join " + cookie + "\n" + mac + "\n", BadProof, BadProof},
		{"udprelay join " + cookie + cookie + "\n", BadProof, BadProof},
		{"udprelay join " + cookie[1:] + "\n", BadProof, BadProof},
		{"udprelay join " + cookie[:19] + "\n", BadProof, BadProof},
		{"udprelay join x" + cookie + "\n", BadProof, BadProof},
		{"udprelay join x\n", BadProof, BadProof},
		{"udprelay join  " + cookie + "\n", NoProof, NoProof},
		{"udprelay join \n", NoProof, NoProof},
		{"udprelay join \r\n \r\n", NoProof, NoProof},
		{Hello, NoProof, NoProof},
		{"udprelay join" + cookie, NoProof, NoProof},
		{"Udprelay join " + cookie, NoProof, NoProof},
		{" udprelay join " + cookie, NoProof, NoProof},
		{"udprelay cookie " + cookie + "\n", NoProof, NoProof}, // the answer, sent back as it is
		{cookie, NoProof, NoProof},
		{"", NoProof, NoProof},
	} {
		wantCheck(t, j, []byte(test.payload), someone, false, 0, test.open)
		wantCheck(t, j, []byte(test.payload), someone, true, 0, test.secret)
	}
}

// Nobody can use the relay to send more than he sends himself.
func TestAnswerIsNeverLongerThanThreeTimesTheQuestion(t *testing.T) {
	for _, from := range []string{"192.0.2.1:1", "[2001:db8::1]:65535", "[fe80::1%" + strings.Repeat("x", 100) + "]:1"} {
		j := NewJar(theSecret)
		for received := range 201 {
			answer, ok := j.Answer(netip.MustParseAddrPort(from), make([]byte, received), 0)
			if len(answer) > 3*received {
				t.Errorf("want at most %d bytes for %d from %s, got %d", 3*received, received, from, len(answer))
			}
			// Nothing is held back that may be said.
			if want := received == 0 || 3*received >= cookieLength; ok != want {
				t.Errorf("want %d bytes from %s to be answered %v, got %v", received, from, want, ok)
			}
			if _, isCookie := Cookie(answer); isCookie != (ok && received > 0) {
				t.Errorf("want a cookie for %d bytes from %s, got %q", received, from, answer)
			}
		}
	}
	if _, ok := NewJar(nil).Answer(someone, []byte(Hello), 0); !ok {
		t.Errorf("want %q to be long enough for an answer, got none", Hello)
	}
}

// An empty answer says: I am here, ask with more.
func TestEmptyDatagramGetsAnEmptyAnswer(t *testing.T) {
	j := NewJar(nil)
	j.Answer(someone, make([]byte, 100), 0) // there is one that could be mixed up with it
	if answer, ok := j.Answer(someone, nil, 0); !ok || len(answer) != 0 {
		t.Errorf("want an empty answer, got %q and %v", answer, ok)
	}
	if answer, ok := j.Answer(someone, []byte("x"), 0); ok || len(answer) != 0 {
		t.Errorf("want no answer to one byte, got %q and %v", answer, ok)
	}
}

func TestAnswerIsOneLineOfText(t *testing.T) {
	answer, _ := NewJar(nil).Answer(someone, []byte(Hello), 0)
	var cookie string
	if n, err := fmt.Sscanf(string(answer), "udprelay cookie %s\n", &cookie); n != 1 || err != nil || len(cookie) != 20 {
		t.Errorf(`want "udprelay cookie " and 20 digits, got %q`, answer)
	}
	if want := "udprelay cookie " + cookie + "\n"; string(answer) != want || len(answer) != cookieLength {
		t.Errorf("want %q, %d bytes, got %q, %d", want, cookieLength, answer, len(answer))
	}
}

func TestCheckLeavesTheDatagramAsItIs(t *testing.T) {
	j := NewJar(theSecret)
	payload := Join(cookieFor(t, j, someone, 0), theSecret)
	payload = append(payload, "the bytes after it in the buffer"...)[:len(payload)]
	whole := payload[:cap(payload)]
	before := bytes.Clone(whole)
	wantCheck(t, j, payload, someone, true, 0, Proved)
	if !bytes.Equal(whole, before) {
		t.Errorf("want the buffer to stay %q, got %q", before, whole)
	}
}

func TestJarAllocatesNothingOnceItHasAnswered(t *testing.T) {
	for _, from := range []string{"192.0.2.1:40000", "[2001:db8::1]:40000", "[fe80::1%eth0]:40000"} {
		addr := netip.MustParseAddrPort(from)
		j := NewJar(theSecret)
		cookie := cookieFor(t, j, addr, 0)
		right, forged, other := Join(cookie, theSecret), Join(strings.Repeat("0", 20), theSecret), []byte(strings.Repeat("x", 1400))
		now := int64(0)
		long := make([]byte, 100)
		wantNoAllocation(t, "Answer", func() { now++; j.Answer(addr, long, now) })
		wantNoAllocation(t, "Answer to too little", func() { now++; j.Answer(addr, long[:1], now); j.Answer(addr, nil, now) })
		wantNoAllocation(t, "Check of what is right", func() { now++; j.Check(right, addr, true, now); j.Check(right, addr, false, now) })
		wantNoAllocation(t, "Check of what is forged", func() { now++; j.Check(forged, addr, true, now) })
		wantNoAllocation(t, "Check of something else", func() { now++; j.Check(other, addr, true, now) })
		wantCheck(t, j, right, addr, true, now, Proved)
	}
}

// The one before a rule asked for a cookie has made none.
func TestJarAllocatesNothingForWhatIsNoProof(t *testing.T) {
	j, other := NewJar(nil), []byte("telemetry")
	now := int64(0)
	wantNoAllocation(t, "Check", func() { now += int64(Period); j.Check(other, someone, false, now) })
}

func FuzzCheck(f *testing.F) {
	// COOKIE, OLD and MAC stand for the right ones, which nobody can guess.
	for _, payload := range []string{
		"", Hello, "udprelay join COOKIE\n", "udprelay join OLD", "udprelay join COOKIE MAC\r\n", "udprelay join OLD MAC\n",
		"udprelay join COOKIE  MAC\n", "udprelay join COOKIECOOKIE", "udprelay join MAC COOKIE", "udprelay join COOKIE x",
		"udprelay join  COOKIE", "udprelay join 0a1b2c3d4e5f60718293\n", "udprelay cookie COOKIE\n", "udprelay join \n", "udprelay join COOKIE\n\n \r\r\n",
		"udprelay join COOKIE MAC  \n", "udprelay join COOKIE\x00",
	} {
		f.Add([]byte(payload), false)
		f.Add([]byte(payload), true)
	}
	j := NewJar(theSecret)
	old := cookieFor(f, j, someone, 0)
	cookie := cookieFor(f, j, someone, int64(Period))
	f.Fuzz(func(t *testing.T, payload []byte, withSecret bool) {
		mac := macOf(cookie, theSecret)
		if bytes.Contains(payload, []byte("OLD")) {
			mac = macOf(old, theSecret)
		}
		text := strings.NewReplacer("COOKIE", cookie, "OLD", old, "MAC", mac).Replace(string(payload))
		// What is right, said in another way than Check says it.
		right := false
		end := strings.TrimRight(text, " \r\n")
		for _, c := range []string{cookie, old} {
			right = right || end == "udprelay join "+c+" "+macOf(c, theSecret) ||
				!withSecret && (end == "udprelay join "+c || strings.HasPrefix(end, "udprelay join "+c+" "))
		}
		right = right && len(text) <= maxProof
		given := []byte(text)
		got := j.Check(given, someone, withSecret, int64(Period))
		if right != (got == Proved) {
			t.Fatalf("Check(%q, with secret %v): want it proved %v, got %s", text, withSecret, right, words[got])
		}
		if string(given) != text {
			t.Fatalf("want the datagram to stay %q, got %q", text, given)
		}
		if got := j.Check(given, netip.MustParseAddrPort("192.0.2.1:40001"), withSecret, int64(Period)); got == Proved {
			t.Fatalf("Check(%q) from another port: want a bad proof or none, got it proved", text)
		}
		if is := strings.HasPrefix(text, "udprelay join ") && len(text) <= maxProof; !is && got != NoProof {
			t.Fatalf("Check(%q): want no proof, got %s", text, words[got])
		}
	})
}

// Two relays that hear from each other must not answer each other's answers.
func TestCookieIsNotAnswered(t *testing.T) {
	cookie := "udprelay cookie " + cookieFor(t, NewJar(nil), someone, 0) + "\n"
	if answer, ok := NewJar(nil).Answer(someone, []byte(cookie), 0); ok {
		t.Errorf("want no answer to %q; got %q", cookie, answer)
	}
}
