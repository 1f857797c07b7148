package keyset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"invoicebox-worker/internal/secretfile"
)

// The errors of a file. Callers use errors.Is.
var (
	// ErrWrapped: the file is wrapped, and no wrapper was given.
	ErrWrapped = errors.New("keyset: the keys in the file are wrapped")
	// ErrNotWrapped: the keys are not encrypted in the file, and a wrapper was given.
	ErrNotWrapped = errors.New("keyset: the keys in the file are not wrapped")
	// ErrWrapper: the wrapper failed. A later call may succeed.
	ErrWrapper = errors.New("keyset: the wrapper failed")
	// ErrChanged: the file was changed since it was read, or another change of it has
	// begun.
	ErrChanged = errors.New("keyset: another change of the file has begun")
)

const (
	// maxFile bounds a keyset file: hundreds of keys fit.
	maxFile = 1 << 20
	// abandoned is how old an unfinished change must be, so that its process has ended.
	abandoned = 10 * time.Minute
)

// A Wrapper encrypts the keys of a file with a key that is not in it.
type Wrapper interface {
	tink.AEADWithContext
	// Name names the key. The file contains it.
	Name() string
}

// A File is the place of a keyset.
type File struct {
	Path string
	Wrap Wrapper // nil: the keys are not encrypted in the file
}

// document is the content of the file. Tink's own JSON is in the members.
type document struct {
	Wrapped string         `json:"wrapped,omitzero"` // the name of the wrapper's key
	Sealing jsontext.Value `json:"sealing"`
	Lookup  jsontext.Value `json:"lookup"`
}

// The wrapper binds each keyset to its member.
const (
	wrapsSealing = "invoicebox-worker keyset sealing"
	wrapsLookup  = "invoicebox-worker keyset lookup"
)

// Create creates a new set and writes it, readable by its owner only. An existing file is
// never changed: the error is then fs.ErrExist.
func (f File) Create(ctx context.Context) (*Set, error) {
	s, err := New()
	if err != nil {
		return nil, err
	}
	doc, err := f.marshal(ctx, s)
	if err != nil {
		return nil, err
	}
	to, err := openNew(f.Path)
	if err != nil {
		return nil, err
	}
	if err := writeAll(to, doc); err != nil {
		_ = os.Remove(f.Path)
		return nil, err
	}
	return s, syncFolder(filepath.Dir(f.Path))
}

// Load reads the set. Its errors wrap fs.ErrNotExist, secretfile.ErrPermissions,
// ErrWrapped, ErrNotWrapped or ErrWrapper, or report that the file is not a keyset.
func (f File) Load(ctx context.Context) (*Set, error) {
	doc, err := f.read()
	if err != nil {
		return nil, err
	}
	return f.parse(ctx, doc)
}

// A Change is a change of a keyset file. Only one can be open for a file.
type Change struct {
	file File
	to   *os.File
	read []byte
	set  *Set
}

// Change reads the keyset to change it. The caller ends the change with Write or
// Cancel. The errors are those of Load, and ErrChanged.
func (f File) Change(ctx context.Context) (*Change, error) {
	// A link is not replaced, but the file that it names.
	if whole, err := filepath.EvalSymlinks(f.Path); err == nil {
		f.Path = whole
	}
	next := f.Path + ".next"
	if info, err := os.Stat(next); err == nil && time.Since(info.ModTime()) > abandoned {
		_ = os.Remove(next)
	}
	// This file prevents a second change.
	to, err := openNew(next)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("%w: %s exists. It is removed when it is older than %v", ErrChanged, next, abandoned)
	case err != nil:
		return nil, err
	}
	c := &Change{file: f, to: to}
	if c.read, err = f.read(); err == nil {
		c.set, err = f.parse(ctx, c.read)
	}
	if err != nil {
		c.Cancel()
		return nil, err
	}
	return c, nil
}

// Set returns the set that was read.
func (c *Change) Set() *Set { return c.set }

// Cancel ends the change and does not change the file. After Write it does nothing.
func (c *Change) Cancel() {
	if c.to != nil {
		_ = c.to.Close()
		_ = os.Remove(c.to.Name())
		c.to = nil
	}
}

// Write replaces the file with one that has the keys of s, wrapped by wrap unless that is
// nil. The owner is the same, and nobody else can read it. A concurrent reader gets the
// whole old file or the whole new one, also after a crash.
func (c *Change) Write(ctx context.Context, s *Set, wrap Wrapper) error {
	defer c.Cancel()
	doc, err := File{Wrap: wrap}.marshal(ctx, s)
	if err != nil {
		return err
	}
	if now, err := c.file.read(); err != nil || !bytes.Equal(now, c.read) {
		return errors.Join(ErrChanged, err)
	}
	next := c.to.Name()
	mine, err := c.to.Stat()
	if err != nil {
		return fmt.Errorf("keyset: %w", err)
	}
	if there, err := os.Stat(next); err != nil || !os.SameFile(mine, there) {
		return errors.Join(ErrChanged, err) // another change considered this one abandoned
	}
	if err := writeAll(c.to, doc); err != nil {
		return err
	}
	if err := keepOwner(c.file.Path, next); err != nil {
		return fmt.Errorf("keyset: the new file cannot get the owner of %s: %w", c.file.Path, err)
	}
	if err := os.Rename(next, c.file.Path); err != nil {
		return fmt.Errorf("keyset: %w", err)
	}
	c.to = nil
	return syncFolder(filepath.Dir(c.file.Path))
}

// openNew creates a file that does not exist yet.
func openNew(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	return f, nil
}

// writeAll writes a whole file and closes it. The loss of the file is the loss of every
// secret, so it has to be durable before anything is sealed with it.
func writeAll(f *os.File, doc []byte) error {
	_, err := f.Write(doc)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("keyset: %w", err)
	}
	return nil
}

// read reads the file.
func (f File) read() ([]byte, error) {
	doc, err := secretfile.ReadPrivate(f.Path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	return doc, nil
}

// parse parses a document. Other errors of parsers are not returned: they may quote the
// file, which contains only secrets.
func (f File) parse(ctx context.Context, doc []byte) (*Set, error) {
	none := fmt.Errorf("keyset: %s is no keyset made by `keys create`", f.Path)
	var d document
	if json.Unmarshal(doc, &d, json.RejectUnknownMembers(true)) != nil {
		return nil, none
	}
	switch {
	case d.Wrapped != "" && f.Wrap == nil:
		return nil, fmt.Errorf("%w by %q", ErrWrapped, d.Wrapped)
	case d.Wrapped == "" && f.Wrap != nil:
		return nil, ErrNotWrapped
	case f.Wrap != nil && d.Wrapped != f.Wrap.Name():
		return nil, fmt.Errorf("%w by %q, not by %q", ErrWrapped, d.Wrapped, f.Wrap.Name())
	}
	var handles [2]*keyset.Handle
	for i, part := range []struct {
		doc   jsontext.Value
		bound string
	}{{d.Sealing, wrapsSealing}, {d.Lookup, wrapsLookup}} {
		var err error
		from := keyset.NewJSONReader(bytes.NewReader(part.doc))
		if f.Wrap == nil {
			handles[i], err = insecurecleartextkeyset.Read(from)
		} else {
			w := witness{Wrapper: f.Wrap}
			handles[i], err = keyset.ReadWithContext(ctx, from, &w, []byte(part.bound))
			if w.err != nil {
				return nil, fmt.Errorf("%w: %w", ErrWrapper, w.err)
			}
		}
		if err != nil {
			return nil, none
		}
	}
	s, err := assemble(handles[0], handles[1])
	if err != nil {
		return nil, none
	}
	return s, nil
}

func (f File) marshal(ctx context.Context, s *Set) ([]byte, error) {
	k := s.keys.Load()
	var d document
	if f.Wrap != nil {
		d.Wrapped = f.Wrap.Name()
	}
	for _, part := range []struct {
		to    *jsontext.Value
		from  *keyset.Handle
		bound string
	}{{&d.Sealing, k.sealing, wrapsSealing}, {&d.Lookup, k.lookup, wrapsLookup}} {
		var b bytes.Buffer
		var err error
		if f.Wrap == nil {
			err = insecurecleartextkeyset.Write(part.from, keyset.NewJSONWriter(&b))
		} else {
			w := witness{Wrapper: f.Wrap}
			err = part.from.WriteWithContext(ctx, keyset.NewJSONWriter(&b), &w, []byte(part.bound))
			if w.err != nil {
				return nil, fmt.Errorf("%w: %w", ErrWrapper, w.err)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("keyset: %w", err)
		}
		*part.to = b.Bytes()
	}
	doc, err := json.Marshal(d, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	return append(doc, '\n'), nil
}

// A witness distinguishes an error of the wrapper from those of a damaged file.
type witness struct {
	Wrapper
	err error
}

func (w *witness) EncryptWithContext(ctx context.Context, text, bound []byte) (out []byte, err error) {
	out, w.err = w.Wrapper.EncryptWithContext(ctx, text, bound)
	return out, w.err
}

func (w *witness) DecryptWithContext(ctx context.Context, text, bound []byte) (out []byte, err error) {
	out, w.err = w.Wrapper.DecryptWithContext(ctx, text, bound)
	return out, w.err
}
