package journaltest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// apart runs a command in namespaces of its own, in which it may mount.
func apart(cmd *exec.Cmd) bool {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	return true
}

func mountSmallDisk(folder string, bytes int) error {
	return syscall.Mount("none", folder, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes))
}

func unmount(folder string) error { return syscall.Unmount(folder, syscall.MNT_DETACH) }
