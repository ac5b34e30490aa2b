package dashboardtest

import (
	"testing"

	"udprelay/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m) }
