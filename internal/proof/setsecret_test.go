package proof

import "testing"

func TestSecretCanBeChanged(t *testing.T) {
	j := NewJar(nil)
	cookie := cookieFor(t, j, someone, 0)
	proof := func(secret string) []byte { return Join(cookie, []byte(secret)) }
	check := func(secret string, want Verdict) {
		t.Helper()
		wantCheck(t, j, proof(secret), someone, true, 0, want)
	}
	check("one", BadProof)
	j.SetSecret([]byte("one"))
	check("one", Proved)
	check("two", BadProof)
	j.SetSecret([]byte("two"))
	check("one", BadProof)
	check("two", Proved) // with a cookie from before
	wantCheck(t, j, proof("one"), someone, false, 0, Proved)
	for _, none := range [][]byte{nil, {}} {
		j.SetSecret(none)
		check("two", BadProof)
		check("", BadProof)
	}
}
