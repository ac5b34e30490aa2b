package bench

import (
	"testing"

	"udprelay/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m) }
