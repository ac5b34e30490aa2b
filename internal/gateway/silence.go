package gateway

import "time"

// watchSilence ends those that have sent nothing for Options.Idle, until the
// gateway is closed. They outlast it by a tenth at most.
func (g *Gateway) watchSilence() {
	look := time.NewTicker(time.Hour)
	defer look.Stop()
	for {
		select {
		case <-g.closing.Done():
			return
		case <-g.idle:
			if idle := g.options.Load().Idle; idle > 0 {
				look.Reset(min(max(idle/10, 10*time.Millisecond), time.Second))
			}
		case <-look.C:
			if idle := g.options.Load().Idle; idle > 0 {
				since := g.now() - int64(idle)
				g.endAll(Silent, func(c *client) bool { return c.heard.Load() <= since })
			}
		}
	}
}
