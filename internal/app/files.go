package app

import (
	"context"
	"strings"
	"time"
)

// A WatchedFile is a file that a setting names, such as a secret or a
// certificate. It logs its own changes.
type WatchedFile interface {
	Setting() string
	// Look returns the present fault of the file, nil if there is none.
	Look() error
}

// filesEvery is how often files are checked, so that a fault is logged soon and not only
// when the file is needed.
const filesEvery = 2 * time.Second

func watchFiles(ctx context.Context, files []WatchedFile) {
	ticker := time.NewTicker(filesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, f := range files {
			_ = f.Look()
		}
	}
}

// filesReady reports which files cannot be used. It is ready nevertheless, because the
// previous values are used.
func filesReady(files []WatchedFile) readiness {
	return func(context.Context) (bool, string) {
		var wrong []string
		for _, f := range files {
			if err := f.Look(); err != nil {
				wrong = append(wrong, "--"+f.Setting()+": "+err.Error())
			}
		}
		if len(wrong) > 0 {
			return true, "the previous values are used; " + strings.Join(wrong, "; ")
		}
		return true, "secrets and certificates can be read"
	}
}
