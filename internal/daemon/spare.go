package daemon

import (
	"log/slog"
	"os"
	"slices"
	"time"

	"udprelay/internal/state"
	"udprelay/internal/systemd"
)

// spareName is how the service manager knows the memory of a spare.
const spareName = "udprelay-peers"

// A spare is memory that the service manager keeps for the process after this
// one, for peers and bans, while the state file cannot be written.
type spare struct {
	file *os.File // nil: there is none
}

// takeSpare returns the spare that the process before has left, if it has, and
// the rest of what the service manager has passed.
func takeSpare(passed []*os.File) (taken spare, rest []*os.File) {
	rest = slices.DeleteFunc(slices.Clone(passed), func(file *os.File) bool {
		if file.Name() != spareName {
			return false
		}
		if taken.file != nil {
			taken.file.Close() // of an earlier process: the later one is newer
		}
		taken.file = file
		return true
	})
	return taken, rest
}

// newer returns what the spare holds, if that was saved after the file was, and
// file if not.
func (s *spare) newer(file *state.Snapshot, log *slog.Logger) *state.Snapshot {
	if s.file == nil {
		return file
	}
	held, err := state.LoadFrom(s.file, time.Now())
	if err != nil {
		log.Warn("peers and bans in memory cannot be used", "error", err)
		return file
	}
	if !held.Saved.After(file.Saved) {
		return file
	}
	log.Info("peers and bans restored from memory: the state file could not be written", "peers", len(held.Peers))
	return held
}

// keep puts data into the spare, which it makes if need be. Nil: there is no need of
// one any more.
func (s *spare) keep(data []byte) error {
	if data == nil {
		if s.file == nil {
			return nil
		}
		s.file.Close()
		s.file = nil
		return systemd.Unstore(spareName)
	}
	if s.file == nil {
		file, err := storedMemory(spareName)
		if err != nil {
			return err
		}
		s.file = file
	}
	// Should this process end meanwhile, the checksum tells.
	if err := s.file.Truncate(int64(len(data))); err != nil {
		return err
	}
	_, err := s.file.WriteAt(data, 0)
	return err
}
