package pgtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// An entry is a file or a folder of a new cluster's data.
type entry struct {
	path string // relative
	mode fs.FileMode
	text []byte
}

// newCluster holds what initdb wrote for the first server of this process: it takes a
// second of CPU time, and every server begins with the same files.
var newCluster struct {
	sync.Mutex
	entries []entry
}

// initialize fills the server's data folder.
func (s *Server) initialize(t testing.TB) {
	t.Helper()
	entries, mine := s.firstCluster(t)
	if mine {
		return
	}
	if err := s.writeTree(entries); err != nil {
		t.Fatal(err)
	}
}

// firstCluster gives what initdb wrote for the first server, and whether this is the one.
func (s *Server) firstCluster(t testing.TB) (list []entry, mine bool) {
	t.Helper()
	newCluster.Lock()
	defer newCluster.Unlock()
	if newCluster.entries != nil {
		return newCluster.entries, false
	}
	s.run(t, "initdb", "-D", s.data, "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	list, err := readTree(s.data)
	if err != nil {
		t.Fatal(err)
	}
	newCluster.entries = list
	return list, true
}

// readTree reads a folder; a folder comes before what it holds.
func readTree(folder string) (list []entry, err error) {
	tree := os.DirFS(folder)
	err = fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{path: path, mode: info.Mode()}
		if !d.IsDir() {
			if e.text, err = fs.ReadFile(tree, path); err != nil {
				return err
			}
		}
		list = append(list, e)
		return nil
	})
	return list, err
}

// writeTree writes the data folder for the server's user.
func (s *Server) writeTree(list []entry) error {
	for _, e := range list {
		path := filepath.Join(s.data, e.path)
		var err error
		if e.mode.IsDir() {
			err = os.Mkdir(path, e.mode.Perm())
		} else {
			err = os.WriteFile(path, e.text, e.mode.Perm())
		}
		if err == nil && s.owner != nil {
			err = os.Chown(path, int(s.owner.Uid), int(s.owner.Gid))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
