package stream

import "fmt"

// maxComplaints bounds what one session says of its input: a file of a million
// bad lines makes one line for each of the first few, and a number.
const maxComplaints = 20

// unsent counts what could not be sent and tells of the first few.
type unsent struct {
	say   func(string)
	mode  Mode
	count int
}

func (u *unsent) add(err error) {
	u.count++
	if u.count <= maxComplaints {
		u.say(err.Error())
	}
	if u.count == maxComplaints {
		u.say("from here on what cannot be sent is only counted")
	}
}

// err returns an *UnsentError if there is reason to.
func (u *unsent) err() error {
	if u.count == 0 {
		return nil
	}
	return &UnsentError{u.count, u.mode}
}

// An UnsentError says how much of the input was not sent.
type UnsentError struct {
	Count int
	Mode  Mode
}

func (e *UnsentError) Error() string {
	unit := "line"
	if e.Mode == Raw {
		unit = "datagram"
	}
	if e.Count == 1 {
		return "1 " + unit + " was not sent"
	}
	return fmt.Sprintf("%d %ss were not sent", e.Count, unit)
}
