package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// mostTaps is how many recordings are made at a time: each costs the datapath a
// copy, and has some megabytes that wait.
const mostTaps = 16

// isHead answers a HEAD for what does not end, if it is one.
func isHead(w http.ResponseWriter, request *http.Request, contentType string) bool {
	if request.Method != http.MethodHead {
		return false
	}
	w.Header().Set("Content-Type", contentType)
	return true
}

// addControl gives mux what changes something.
func addControl(mux *http.ServeMux, control Control) {
	mux.HandleFunc("POST /api/v1/reload", func(w http.ResponseWriter, _ *http.Request) {
		reloaded, err := control.Reload()
		if err != nil {
			answer(w, http.StatusUnprocessableEntity, failureOf(err))
			return
		}
		answer(w, http.StatusOK, reloaded)
	})
	taps := make(chan struct{}, mostTaps)
	mux.HandleFunc("GET /api/v1/tap", func(w http.ResponseWriter, request *http.Request) {
		if isHead(w, request, "application/x-pcapng") {
			return
		}
		select {
		case taps <- struct{}{}:
			defer func() { <-taps }()
			tap(w, request, control)
		default:
			answer(w, http.StatusServiceUnavailable, &Failure{Message: fmt.Sprintf("%d recordings are made already; want %d at most", mostTaps, mostTaps), Code: 69})
		}
	})
	addBans(mux, control)
}

// tap streams a recording for as long as the client reads it.
func tap(w http.ResponseWriter, request *http.Request, control Control) {
	wish := Tap{Peers: request.URL.Query()["peer"]}
	for key, values := range request.URL.Query() {
		var err error
		switch key {
		case "peer":
		case "snaplen":
			wish.SnapLen, err = number(key, values[0], 0, 1<<16)
		default:
			err = fmt.Errorf("unknown parameter %s; want peer or snaplen", printable(key))
		}
		if err != nil {
			refuse(w, err)
			return
		}
	}
	ctx := request.Context()
	body := &tapBody{w: w, control: http.NewResponseController(w)}
	_ = body.control.SetWriteDeadline(time.Time{}) // a client may be as slow as it likes ...
	stop := context.AfterFunc(ctx, func() {
		_ = body.control.SetWriteDeadline(time.Now().Add(time.Second)) // ... until the daemon stops
	})
	defer stop()
	if err := control.Tap(ctx, wish, body); err != nil && !body.begun {
		refuse(w, err)
	}
}

// A tapBody is the answer to a tap: all that is written leaves at once.
type tapBody struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (b *tapBody) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.w.Header().Set("Content-Type", "application/x-pcapng")
	}
	n, err := b.w.Write(p)
	if err == nil {
		err = b.control.Flush()
	}
	return n, err
}
