package bench

import (
	"testing"
	"time"

	"udprelay/internal/programtest"
	"udprelay/internal/testwait"
)

func TestMain(m *testing.M) {
	quiet, overtime = 3*time.Second, testwait.Patience // so that counts are exact on a slow machine
	programtest.Main(m)
}
