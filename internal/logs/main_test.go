package logs

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// destinationVariable makes the test program write to descriptor 3 what its
// standard output and error are, and end.
const destinationVariable = "LOGS_TEST_DESTINATION"

func TestMain(m *testing.M) {
	if os.Getenv(destinationVariable) != "" {
		fmt.Fprintln(os.NewFile(3, "answer"), DestinationOf(os.Stdout), DestinationOf(os.Stderr))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
