package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"invoicebox-worker/internal/secret"
)

// MaxBytes bounds a secret file. The longest documented token has 512 bytes.
const MaxBytes = 4 << 10

// lookEvery is how long a look at the file is good for.
const lookEvery = time.Second

// What can be wrong with a file. The errors of this package wrap one of these
// or one of io/fs, and name the file.
var (
	ErrPermissions = errors.New("is open to group or world; chmod 600 it")
	ErrNotRegular  = errors.New("is not a regular file")
	ErrEmpty       = errors.New("is empty")
	ErrTooLarge    = fmt.Errorf("is larger than %d bytes", MaxBytes)
	ErrNotText     = errors.New("holds more than one line, control characters or invalid UTF-8")
)

// A File is a secret that lies in a file. It is safe for concurrent use.
type File struct {
	path   string
	logger *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	value  secret.String
	info   fs.FileInfo // of what was read or refused last
	looked time.Time
	failed string // the trouble that was logged last
}

// Open reads the secret in path for the first time. logger is told when a later
// change cannot be taken; nil tells nobody.
func Open(path string, logger *slog.Logger) (*File, error) {
	return open(path, logger, time.Now)
}

func open(path string, logger *slog.Logger, now func() time.Time) (*File, error) {
	value, info, err := read(path)
	if err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &File{path: path, logger: logger, now: now, value: value, info: info, looked: now()}, nil
}

// Path names the file.
func (f *File) Path() string { return f.path }

// Get returns the secret, read again if the file has changed since.
func (f *File) Get() secret.String {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if since := now.Sub(f.looked); since >= 0 && since < lookEvery {
		return f.value
	}
	f.looked = now
	info, err := os.Stat(f.path)
	if err != nil {
		f.trouble(describe(f.path, err))
		return f.value
	}
	if unchanged(f.info, info) {
		return f.value
	}
	value, info, err := read(f.path)
	if err != nil {
		f.trouble(err)
		return f.value
	}
	f.value, f.info, f.failed = value, info, ""
	f.logger.Info("a secret file has changed and was read again", "file", f.path)
	return f.value
}

// trouble logs each trouble once, however often it is met.
func (f *File) trouble(err error) {
	if text := err.Error(); text != f.failed {
		f.failed = text
		f.logger.Error("a secret file has changed and cannot be used; the secret read before stays in force", "error", text)
	}
}

// unchanged compares what a replacement changes: the file itself (an atomic
// rename), its size, its time, its permissions.
func unchanged(a, b fs.FileInfo) bool {
	return a != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

func read(path string) (secret.String, fs.FileInfo, error) {
	// Looked at before it is opened: opening a pipe would wait for its writer.
	if info, err := os.Stat(path); err != nil {
		return secret.String{}, nil, describe(path, err)
	} else if !info.Mode().IsRegular() {
		return secret.String{}, nil, fmt.Errorf("%s %w", path, ErrNotRegular)
	}
	file, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return secret.String{}, nil, describe(path, err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return secret.String{}, nil, describe(path, err)
	}
	if !info.Mode().IsRegular() {
		return secret.String{}, nil, fmt.Errorf("%s %w", path, ErrNotRegular)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return secret.String{}, nil, fmt.Errorf("%s (mode %04o) %w", path, info.Mode().Perm(), ErrPermissions)
	}
	doc, err := io.ReadAll(io.LimitReader(file, MaxBytes+1))
	if err != nil {
		return secret.String{}, nil, describe(path, err)
	}
	value, err := Trim(doc)
	if err != nil {
		return secret.String{}, nil, fmt.Errorf("%s %w", path, err)
	}
	return value, info, nil
}

// Trim checks the bytes of a secret file and takes its one trailing line break
// away. The error wraps ErrEmpty, ErrTooLarge or ErrNotText.
func Trim(doc []byte) (secret.String, error) {
	if len(doc) > MaxBytes {
		return secret.String{}, ErrTooLarge
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(doc), "\n"), "\r")
	switch {
	case strings.TrimSpace(text) == "":
		return secret.String{}, ErrEmpty
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return secret.String{}, ErrNotText
	}
	return secret.New(text), nil
}

// describe words an error of the file system without its operation.
func describe(path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("%s cannot be read: %w", path, err)
}
