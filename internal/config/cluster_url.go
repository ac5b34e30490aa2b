package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

var urlWant = fmt.Sprintf(`a URL of NATS such as nats://nats.example:4222, several separated by commas, at most %d bytes, or none or "" for none`, maxURL)

// natsSchemes are those that clients of NATS know.
var natsSchemes = []string{"nats", "tls", "ws", "wss"}

// hidden stands for a password or a token where it is not shown.
const hidden = "xxxxx"

// ShownURL returns URL without the passwords and tokens in it, to be shown.
func (c *Cluster) ShownURL() string { return redact(c.URL) }

// redact returns text without the passwords of the URLs in it, and without the
// tokens of those of NATS, which stand where a user does elsewhere.
func redact(text string) string {
	first, last := strings.Index(text, "://"), strings.LastIndexByte(text, '@')
	if first < 0 || last < first {
		return text
	}
	parts := strings.Split(text, ",")
	for i, part := range parts {
		scheme, rest, found := strings.Cut(part, "://")
		at := strings.LastIndexByte(rest, '@')
		switch {
		case !found && strings.Contains(part, "@"): // the comma was part of a password
			return text[:first] + "://" + hidden + text[last:]
		case at < 0:
			continue
		}
		user, _, both := strings.Cut(rest[:at], ":")
		switch {
		case both:
			parts[i] = scheme + "://" + user + ":" + hidden + rest[at:]
		case slices.Contains(natsSchemes, strings.ToLower(strings.TrimSpace(scheme))):
			parts[i] = scheme + "://" + hidden + rest[at:]
		}
	}
	return strings.Join(parts, ",")
}

// hasHidden reports whether a URL in text has been shown without its password.
func hasHidden(text string) bool {
	return strings.Contains(text, ":"+hidden+"@") || strings.Contains(text, "://"+hidden+"@")
}

// setURL takes the URLs of a NATS deployment. No message repeats a password.
func setURL(l *loader, text string) (wrong string) {
	l.config.Cluster.URL = text
	if given(text) == "" {
		return ""
	}
	if near := closest(text, []string{None}); near != "" && !strings.ContainsAny(text, ":@") {
		return fmt.Sprintf("unknown word %q; did you mean %q?", text, near)
	}
	// What has an "@" and no scheme may be the rest of a password.
	if slices.ContainsFunc(strings.Split(text, ","), func(part string) bool { return !strings.Contains(part, "://") && strings.Contains(part, "@") }) {
		return "a user comes without a scheme before it, or a password has a comma in it; want such as nats://USER:PASSWORD@nats.example:4222, with %2C for a comma"
	}
	webSockets, others := "", ""
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if wrong := checkURL(part); wrong != "" {
			return wrong
		}
		if strings.HasPrefix(part, "ws") {
			webSockets = part
		} else {
			others = part
		}
	}
	if webSockets != "" && others != "" {
		return fmt.Sprintf("%q is a WebSocket and %q is none; want all alike", shorten(webSockets), shorten(others))
	}
	return ""
}

// checkURL refuses what is no URL of NATS.
func checkURL(text string) (wrong string) {
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case text == "":
		return "has nothing before or after a comma; want " + urlWant
	case !found:
		return didYouMean(text, "has no scheme", "nats://"+text)
	}
	user, host, withUser := cutLast(rest, "@")
	if !withUser {
		user, host = "", rest
	}
	switch lower := strings.ToLower(scheme); {
	case slices.Contains(natsSchemes, scheme):
	case slices.Contains(natsSchemes, lower):
		return didYouMean(scheme, "is not in lower case", lower+"://"+rest)
	case lower == "http":
		return didYouMean(text, "is no URL of NATS", "nats://"+rest)
	case lower == "https":
		return didYouMean(text, "is no URL of NATS", "tls://"+rest)
	default:
		return fmt.Sprintf("%q is no scheme of NATS; want %s", shorten(scheme), orList(natsSchemes))
	}
	switch {
	case withUser && (user == "" || user[0] == ':'):
		return fmt.Sprintf("%q has no user; want USER:PASSWORD or a token before the \"@\"", shorten(text))
	case withUser && !isUserInfo(user):
		return "the user or the password has a character in it that a URL has escaped; want such as %40 for @, %2F for / and %25 for %"
	}
	if i := strings.IndexAny(host, "/?#"); i >= 0 && host[i:] != "/" {
		return didYouMean(text, "has more than a host and a port", strings.TrimSuffix(text, host[i:]))
	}
	host = strings.TrimSuffix(host, "/")
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		// Without an "@" this may be a password, so no message has it.
		if n, wrong := parseWhole(host[colon+1:]); wrong != "" || n < 1 || n > 65535 {
			return "the port is no number from 1 to 65535; want " + urlWant
		}
		if host = host[:colon]; strings.ContainsAny(host, ":") && !strings.HasPrefix(host, "[") {
			return "there are too many colons, or an IPv6 address without brackets; want such as nats://[2001:db8::1]:4222"
		}
	}
	if host == "" {
		return fmt.Sprintf("%q has no host; want %s", shorten(text), urlWant)
	}
	if _, wrong := parseToReach(host+":4222", urlWant, "the address of one server"); wrong != "" {
		return wrong
	}
	if _, err := url.Parse(text); err != nil { // all else has been checked
		return fmt.Sprintf("%q has a zone that is not escaped; want such as nats://[fe80::1%%25eth0]:4222", shorten(text))
	}
	return ""
}

// didYouMean says what is wrong with text, and guesses if the guess would be right
// and is short. Otherwise the text is not repeated: half of a URL may end with a
// password.
func didYouMean(text, wrong, guess string) string {
	if shown := shorten(guess); checkURL(guess) == "" && !strings.HasSuffix(shown, "…") {
		return fmt.Sprintf("%q %s; did you mean %q?", shorten(text), wrong, shown)
	}
	return wrong + "; want " + urlWant
}

func cutLast(text, sep string) (before, after string, found bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// isUserInfo checks what stands before the "@" of a URL by RFC 3986, section
// 3.2.1: a user and a password, or a token.
func isUserInfo(text string) bool {
	_, err := url.PathUnescape(text)
	return err == nil && !strings.ContainsFunc(text, func(r rune) bool {
		return !isNameRune(r) && !strings.ContainsRune(".~!$&'()*+;=%:", r)
	})
}
