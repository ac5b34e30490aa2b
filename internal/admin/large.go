package admin

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	// mostLarge is how many large answers may be on the way at a time. Each is
	// in memory until its client has taken it: some 600 KiB for 1000 peers, and
	// megabytes for the metrics of each peer.
	mostLarge = 32

	// largeTimeout is how long a client may take for one.
	largeTimeout = 20 * time.Second
)

// large returns next for requests whose answers may be large: no more than
// mostLarge are on the way at a time, so that clients that do not read cost a
// bounded amount of memory.
func (r *reader) large(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		select {
		case r.underWay <- struct{}{}:
			defer func() { <-r.underWay }()
		default:
			w.Header().Set("Retry-After", "5")
			answer(w, http.StatusServiceUnavailable, &Failure{Message: fmt.Sprintf("%d large answers are on the way already; want %d at most", mostLarge, mostLarge), Way: "try again in some seconds", Code: 69})
			return
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(largeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		next(w, request)
	}
}
