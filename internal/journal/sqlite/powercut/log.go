package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// sector is the smallest part of a write that is durable as a whole or not at all.
const sector = 512

// An act is an action on a file.
type act uint8

const (
	found   act = iota // it existed when it was opened first
	wrote              // data at an offset
	cut                // to a size
	synced             // everything before is durable
	deleted            // it was deleted
)

type note struct {
	act  act
	file string // its name in the folder
	at   int64  // offset, or size
	data []byte
}

// A Log is the list of writes in one folder, in order. Its methods are safe for concurrent
// use.
type Log struct {
	folder string

	mu    sync.Mutex
	notes []note
	known map[string]bool // files with a note
	stop  func()
}

// Start records what SQLite writes in the folder from now on, until Stop. It does not
// record connections that are open already.
func Start(folder string) (*Log, error) {
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return nil, fmt.Errorf("powercut: %w", err)
	}
	l := &Log{folder: folder, known: map[string]bool{}}
	if l.stop, err = register(l); err != nil {
		return nil, err
	}
	return l, nil
}

// Stop ends the recording. Every connection that was opened since Start must
// have been closed.
func (l *Log) Stop() { l.stop() }

// Now is the present moment, after everything that is recorded so far.
func (l *Log) Now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.notes)
}

// Syncs counts the syncs of a file.
func (l *Log) Syncs(file string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, x := range l.notes {
		if x.act == synced && x.file == file {
			n++
		}
	}
	return n
}

// name is the file's name in the folder, "" for a file elsewhere.
func (l *Log) name(path string) string {
	name, err := filepath.Rel(l.folder, path)
	if err != nil || strings.ContainsRune(name, filepath.Separator) || name == ".." {
		return ""
	}
	return name
}

// open records that a file is opened; before is whether it existed.
func (l *Log) open(name string, before bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before && !l.known[name] {
		l.notes = append(l.notes, note{act: found, file: name})
	}
	l.known[name] = true
}

func (l *Log) note(n note) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, n)
}

// A Cut describes a power cut.
type Cut struct {
	At int // the moment, as returned by Now
	// Seed selects the parts of unsynced writes that are on the disk anyway; 0: none of
	// them.
	Seed uint64
	// Deaf ignores every sync, as a journal that is not durable would.
	Deaf bool
}

// A disk is the files as they are durable.
type disk struct {
	there   map[string]bool
	files   map[string][]byte
	pending map[string][]note
}

// Image writes the files into an empty folder.
func (l *Log) Image(c Cut, folder string) error {
	l.mu.Lock()
	notes := l.notes[:min(c.At, len(l.notes))]
	l.mu.Unlock()
	d := disk{there: map[string]bool{}, files: map[string][]byte{}, pending: map[string][]note{}}
	for _, n := range notes {
		d.take(n, c.Deaf)
	}
	if c.Seed != 0 {
		d.some(rand.New(rand.NewPCG(c.Seed, uint64(c.At)))) // #nosec G404 -- moments of a test
	}
	var errs []error
	for name := range d.there {
		errs = append(errs, os.WriteFile(filepath.Join(folder, name), d.files[name], 0o600))
	}
	return errors.Join(errs...)
}

func (d *disk) take(n note, deaf bool) {
	switch n.act {
	case found:
		d.there[n.file] = true
	case deleted:
		delete(d.there, n.file)
		delete(d.files, n.file)
		delete(d.pending, n.file)
	case synced:
		if deaf {
			return
		}
		for _, p := range d.pending[n.file] {
			d.apply(p)
		}
		d.there[n.file] = true // its folder was synced with it
		delete(d.pending, n.file)
	default:
		d.pending[n.file] = append(d.pending[n.file], n)
	}
}

func (d *disk) apply(n note) {
	file := d.files[n.file]
	size := n.at + int64(len(n.data))
	if int64(len(file)) < size {
		file = append(file, make([]byte, size-int64(len(file)))...)
	}
	if n.act == cut {
		file = file[:n.at]
	}
	copy(file[n.at:], n.data)
	d.files[n.file] = file
}

// some writes parts of the unsynced data to the disk.
func (d *disk) some(rnd *rand.Rand) {
	for name, list := range d.pending {
		if !d.there[name] {
			continue
		}
		for _, n := range list {
			switch {
			case rnd.IntN(2) == 0:
				d.apply(n)
			case n.act == wrote:
				for from := 0; from < len(n.data); from += sector {
					if to := min(from+sector, len(n.data)); rnd.IntN(2) == 0 {
						d.apply(note{act: wrote, file: name, at: n.at + int64(from), data: n.data[from:to]})
					}
				}
			}
		}
	}
}
