package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"invoicebox-worker/internal/secret"
)

// MaxBytes bounds a secret file. The longest documented token has 512 bytes.
const MaxBytes = 4 << 10

// The faults of a file. The errors of this package wrap one of these or one of io/fs, and
// name the file.
var (
	ErrPermissions = errors.New("is open to group or world; chmod 600 it")
	ErrNotRegular  = errors.New("is not a regular file")
	ErrEmpty       = errors.New("is empty")
	ErrTooLarge    = errors.New("is too large")
	ErrNotText     = errors.New("holds more than one line, control characters or invalid UTF-8")
)

// A File is a secret in a file. It is safe for concurrent use.
type File = Watched[secret.String]

// Open reads the secret of a setting in path for the first time. If a later change cannot
// be used, it logs that to logger; nil logs nothing.
func Open(setting, path string, form Form, logger *slog.Logger) (*File, error) {
	return open(setting, path, form, logger, time.Now)
}

// OpenDistinct is Open for a token that must differ from those in the files of others, now
// and after each change.
func OpenDistinct(setting, path string, form Form, logger *slog.Logger, others func() map[string]*File) (*File, error) {
	return Watch(setting, AtOnce, logger, func() (secret.String, error) {
		value, err := read(path, form)
		if err != nil {
			return value, err
		}
		for name, other := range others() {
			if other.setting != setting && other.Last().Equal(value) {
				return secret.String{}, fmt.Errorf("%s holds the token of %s; two accounts with one token would share a limit without knowing", path, name)
			}
		}
		return value, nil
	}, path)
}

func open(setting, path string, form Form, logger *slog.Logger, now func() time.Time) (*File, error) {
	return watch(setting, AtOnce, logger, now, func() (secret.String, error) { return read(path, form) }, path)
}

func read(path string, form Form) (secret.String, error) {
	doc, err := ReadPrivate(path, MaxBytes)
	if err != nil {
		return secret.String{}, err
	}
	value, err := Read(doc, form)
	if err != nil {
		return secret.String{}, fmt.Errorf("%s %w", path, err)
	}
	return value, nil
}

// ReadPrivate reads a file of at most limit bytes that only the owner of this process can
// read: see CheckPrivate.
func ReadPrivate(path string, limit int) ([]byte, error) {
	return readFile(path, limit, CheckPrivate)
}

// ReadPublic reads a file of at most limit bytes, whoever can read it.
func ReadPublic(path string, limit int) ([]byte, error) {
	return readFile(path, limit, func(string, fs.FileInfo) error { return nil })
}

func readFile(path string, limit int, check func(path string, info fs.FileInfo) error) ([]byte, error) {
	// Checked before it is opened, because opening a pipe waits for a writer.
	if info, err := os.Stat(path); err != nil {
		return nil, describe(path, err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %w", path, ErrNotRegular)
	}
	file, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, describe(path, err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, describe(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %w", path, ErrNotRegular)
	}
	if err := check(path, info); err != nil {
		return nil, err
	}
	doc, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, describe(path, err)
	}
	if len(doc) > limit {
		return nil, fmt.Errorf("%s %w: it has more than %d bytes", path, ErrTooLarge, limit)
	}
	return doc, nil
}

// Trim checks the bytes of a secret file and removes its one trailing line break. The
// error wraps ErrEmpty, ErrTooLarge or ErrNotText.
func Trim(doc []byte) (secret.String, error) {
	if len(doc) > MaxBytes {
		return secret.String{}, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, MaxBytes)
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
