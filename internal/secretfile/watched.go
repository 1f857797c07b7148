package secretfile

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is how long the result of a check of the files is used.
const lookEvery = time.Second

// A Use is when the content of a changed file is used.
type Use uint8

// The uses.
const (
	AtOnce      Use = iota
	AtNextStart     // it is read at the start only; a change is still checked
)

// A Watched is the content of one or several files, which is read again when one of them
// has changed. It is safe for concurrent use.
type Watched[T any] struct {
	setting string
	paths   []string
	load    func() (T, error)
	use     Use
	logger  *slog.Logger
	now     func() time.Time

	last atomic.Pointer[T] // the last value

	mu     sync.Mutex
	infos  []fs.FileInfo // of the last value
	looked time.Time
	failed error // the present fault of the files
}

// Watch loads the files of a setting for the first time. load makes the same checks at the
// start and at every change; its errors name the file and contain no byte of it. Changes
// are logged to logger; nil logs nothing.
func Watch[T any](setting string, use Use, logger *slog.Logger, load func() (T, error), paths ...string) (*Watched[T], error) {
	return watch(setting, use, logger, time.Now, load, paths...)
}

func watch[T any](setting string, use Use, logger *slog.Logger, now func() time.Time, load func() (T, error), paths ...string) (*Watched[T], error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	w := &Watched[T]{setting: setting, paths: paths, load: load, use: use, logger: logger, now: now, looked: now()}
	// Checked before they are read, so that a change in between is read again.
	infos, err := w.stat()
	value, loading := load()
	if loading != nil {
		err = loading // its text is more specific
	}
	if err != nil {
		return nil, err
	}
	w.infos = infos
	w.last.Store(&value)
	return w, nil
}

// Get returns the value, loaded again if a file has changed and can be used.
func (w *Watched[T]) Get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look()
	return *w.last.Load()
}

// Last returns the last value, without a check of the files.
func (w *Watched[T]) Last() T { return *w.last.Load() }

// Setting returns the name of the setting with the files.
func (w *Watched[T]) Setting() string { return w.setting }

// Look returns the present fault of the files, nil if there is none.
func (w *Watched[T]) Look() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look()
	return w.failed
}

func (w *Watched[T]) look() {
	now := w.now()
	if since := now.Sub(w.looked); since >= 0 && since < lookEvery {
		return
	}
	w.looked = now
	infos, err := w.stat()
	if err != nil {
		w.logFault(err)
		return
	}
	if slices.EqualFunc(w.infos, infos, unchanged) {
		w.logRecovery()
		return
	}
	value, err := w.load()
	if err != nil {
		w.logFault(err)
		return
	}
	w.infos, w.failed = infos, nil
	if w.use == AtNextStart {
		w.logger.Info("a file has changed; the next start uses it", "setting", w.setting, "file", w.paths[0])
		return
	}
	w.last.Store(&value)
	w.logger.Info("a file has changed and was read again", "setting", w.setting, "file", w.paths[0])
}

func (w *Watched[T]) stat() (infos []fs.FileInfo, err error) {
	for _, path := range w.paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, describe(path, err)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// logFault logs each fault once, however often it occurs.
func (w *Watched[T]) logFault(err error) {
	before := w.failed
	w.failed = err
	if before != nil && before.Error() == err.Error() {
		return
	}
	if w.use == AtNextStart {
		w.logger.Error("a changed file is invalid; the next start will refuse it", "setting", w.setting, "err", err.Error())
		return
	}
	w.logger.Error("a changed file is invalid; the previous value stays in use", "setting", w.setting, "err", err.Error())
}

func (w *Watched[T]) logRecovery() {
	if w.failed != nil {
		w.failed = nil
		w.logger.Info("a file is valid again", "setting", w.setting, "file", w.paths[0])
	}
}

// unchanged compares the properties that a replacement changes: the file itself (an atomic
// rename), its size, its time, its permissions.
func unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// describe returns the text of a file system's error without its operation.
func describe(path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return &unreadableError{path, err}
}

// An unreadableError reports that a file cannot be read.
type unreadableError struct {
	path string
	err  error
}

func (e *unreadableError) Error() string { return e.path + " cannot be read: " + e.err.Error() }
func (e *unreadableError) Unwrap() error { return e.err }
