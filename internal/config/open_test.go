package config

import "testing"

func TestRateIsWrittenAsAPersonWould(t *testing.T) {
	for rate, want := range map[float64]string{
		8:              "8 bit/s",
		999:            "999 bit/s",
		8192:           "8.2 kbit/s",
		1e6:            "1 Mbit/s",
		83_886_080:     "83.9 Mbit/s",
		10_002_000_000: "10 Gbit/s",
		1e12:           "1 Tbit/s",
		5e15:           "5000 Tbit/s",
	} {
		if got := formatRate(rate); got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	}
}
