package stream

import "time"

// noteConnection arranges that a person hears of a connection that is lost, and
// of another one that lasts.
func (s *session) noteConnection() {
	switch lost := s.client.Lost(); {
	case lost == nil:
		s.notice = nil
		if s.said != nil {
			s.said = nil
			s.options.Say("connected to " + s.client.Relay() + " again")
		}
	case !s.leaving && s.notice == nil && (s.said == nil || lost.TurnedAway && !s.said.TurnedAway):
		s.notice = time.After(noticeDelay)
	}
}

// sayLost says that the connection is lost, once until there is another one, and
// once more if the relay turns out to end them. That it wants a proof is said
// elsewhere.
func (s *session) sayLost() {
	s.notice = nil
	lost, h := s.client.Lost(), s.client.Health()
	if lost == nil || h.Proving || h.ShutOut {
		return
	}
	s.said = lost
	s.options.Say(lost.Error() + "; still trying")
}
