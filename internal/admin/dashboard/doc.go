// Package dashboard is the page for people at the daemon's HTTP address: what
// the relay does now and did in the last minutes, what was dropped and why, the
// rules and the peers. [Handler] serves it.
//
// The page is the files of the directory page as they are, without a build
// step. It asks only the API of the daemon that served it, by addresses
// relative to its own: /api/v1/status, /api/v1/events, /api/v1/peers and
// /api/v1/why. Its content security policy allows nothing else.
//
// The charts are drawn by uPlot (page/uPlot.iife.min.js and uPlot.min.css, as
// published with version 1.6.32; its licence is page/LICENSE.uPlot.txt).
package dashboard
