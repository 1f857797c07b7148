//go:build !linux

package journaltest

import (
	"errors"
	"os/exec"
)

func apart(*exec.Cmd) bool { return false }

func mountSmallDisk(string, int) error { return errors.ErrUnsupported }

func unmount(string) error { return errors.ErrUnsupported }
