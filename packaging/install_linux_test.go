package packaging

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"udprelay/internal/testneed"
)

// TestInstallation installs, upgrades, removes and purges the .deb with dpkg
// where no systemd runs, as in a chroot or while an image is made.
func TestInstallation(t *testing.T) {
	testneed.Root(t)
	for _, tool := range []string{"dpkg", "deb-systemd-helper", "unshare", "chroot", "mount"} {
		testneed.Tool(t, tool)
	}
	file := filepath.Join(packages(t), "udprelay_"+testVersion+"_"+runtime.GOARCH+".deb")
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "testdata/install.sh", file, t.TempDir()).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
