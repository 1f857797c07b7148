package powercut

import (
	"errors"
	"os"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// The functions of a VFS and of its files, as the translated C calls them.
type (
	openFunc     = func(tls *libc.TLS, vfs, path, file uintptr, flags int32, out uintptr) int32
	deleteFunc   = func(tls *libc.TLS, vfs, path uintptr, sync int32) int32
	closeFunc    = func(tls *libc.TLS, file uintptr) int32
	writeFunc    = func(tls *libc.TLS, file, data uintptr, n int32, at int64) int32
	truncateFunc = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFunc     = func(tls *libc.TLS, file uintptr, flags int32) int32
)

// fromC returns a callable function for a pointer of the translated C.
func fromC[F any](p uintptr) F {
	return *(*F)(unsafe.Pointer(&p)) // #nosec G103 -- that is how the driver calls them too
}

// at returns what is at an address of the translated C's own memory, which the garbage
// collector does not know.
func at[T any](p uintptr) *T {
	return *(**T)(unsafe.Pointer(&p)) // #nosec G103 -- memory of the translated C
}

// A vfs is the system's VFS with a few functions replaced.
type vfs struct {
	log    *Log
	system uintptr               // the system's, by address
	inner  *sqlite3.Tsqlite3_vfs // the same

	mu      sync.Mutex
	methods map[uintptr]*methods // by the system's
	files   map[uintptr]file     // open ones in the folder, by address

	// Functions to which the C has pointers must not be collected.
	open   openFunc
	delete deleteFunc
}

type file struct {
	name  string
	inner *sqlite3.Tsqlite3_io_methods
}

// methods are the system's methods of a file with some replaced, and the replacing
// functions themselves, to which the C has pointers.
type methods struct {
	table    uintptr
	close    closeFunc
	write    writeFunc
	truncate truncateFunc
	sync     syncFunc
}

// toC returns the pointer by which the translated C calls a function. It is valid as long
// as the function is referenced.
func toC[F any](f *F) uintptr {
	return *(*uintptr)(unsafe.Pointer(f)) // #nosec G103 -- as the driver makes them
}

// register makes the recording VFS the default and returns a function that undoes that.
func register(l *Log) (func(), error) {
	tls := libc.NewTLS()
	system := sqlite3.Xsqlite3_vfs_find(tls, 0)
	if system == 0 {
		tls.Close()
		return nil, errors.New("powercut: SQLite has no VFS")
	}
	v := &vfs{log: l, system: system, inner: at[sqlite3.Tsqlite3_vfs](system), methods: map[uintptr]*methods{}, files: map[uintptr]file{}}
	name, err := libc.CString("powercut")
	if err != nil {
		tls.Close()
		return nil, err
	}
	ours := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	if ours == 0 {
		tls.Close()
		return nil, errors.New("powercut: no memory")
	}
	v.open, v.delete = v.xOpen, v.xDelete
	table := at[sqlite3.Tsqlite3_vfs](ours)
	*table = *v.inner
	table.FpNext, table.FzName = 0, name
	table.FxOpen, table.FxDelete = toC(&v.open), toC(&v.delete)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, ours, 1); rc != sqlite3.SQLITE_OK {
		tls.Close()
		return nil, errors.New("powercut: SQLite does not take another VFS")
	}
	return func() {
		sqlite3.Xsqlite3_vfs_unregister(tls, ours)
		sqlite3.Xsqlite3_vfs_register(tls, system, 1)
		libc.Xfree(tls, ours)
		libc.Xfree(tls, name)
		for _, m := range v.methods {
			libc.Xfree(tls, m.table)
		}
		tls.Close()
	}, nil
}

func (v *vfs) xOpen(tls *libc.TLS, _, path, id uintptr, flags int32, out uintptr) int32 {
	name := ""
	if path != 0 {
		name = libc.GoString(path)
	}
	_, err := os.Stat(name)
	rc := fromC[openFunc](v.inner.FxOpen)(tls, v.system, path, id, flags, out)
	if name = v.log.name(name); rc != sqlite3.SQLITE_OK || name == "" {
		return rc
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	f := at[sqlite3.Tsqlite3_file](id)
	m := v.front(tls, f.FpMethods)
	v.files[id] = file{name, at[sqlite3.Tsqlite3_io_methods](f.FpMethods)}
	f.FpMethods = m.table
	v.log.open(name, err == nil)
	return rc
}

// front returns the methods that replace the system's.
func (v *vfs) front(tls *libc.TLS, inner uintptr) *methods {
	if m, ok := v.methods[inner]; ok {
		return m
	}
	m := &methods{
		table: libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{}))),
		close: v.xClose, write: v.xWrite, truncate: v.xTruncate, sync: v.xSync,
	}
	table := at[sqlite3.Tsqlite3_io_methods](m.table)
	*table = *at[sqlite3.Tsqlite3_io_methods](inner)
	table.FxClose, table.FxWrite = toC(&m.close), toC(&m.write)
	table.FxTruncate, table.FxSync = toC(&m.truncate), toC(&m.sync)
	v.methods[inner] = m
	return m
}

func (v *vfs) file(id uintptr) file {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.files[id]
}

func (v *vfs) xClose(tls *libc.TLS, id uintptr) int32 {
	f := v.file(id)
	v.mu.Lock()
	delete(v.files, id)
	v.mu.Unlock()
	return fromC[closeFunc](f.inner.FxClose)(tls, id)
}

func (v *vfs) xDelete(tls *libc.TLS, _, path uintptr, sync int32) int32 {
	rc := fromC[deleteFunc](v.inner.FxDelete)(tls, v.system, path, sync)
	if name := v.log.name(libc.GoString(path)); rc == sqlite3.SQLITE_OK && name != "" {
		v.log.note(note{act: deleted, file: name})
	}
	return rc
}

func (v *vfs) xWrite(tls *libc.TLS, id, data uintptr, n int32, offset int64) int32 {
	f := v.file(id)
	text := append([]byte(nil), unsafe.Slice(at[byte](data), n)...) // #nosec G103 -- n bytes, says SQLite
	rc := fromC[writeFunc](f.inner.FxWrite)(tls, id, data, n, offset)
	if rc == sqlite3.SQLITE_OK {
		v.log.note(note{act: wrote, file: f.name, at: offset, data: text})
	}
	return rc
}

func (v *vfs) xTruncate(tls *libc.TLS, id uintptr, size int64) int32 {
	f := v.file(id)
	rc := fromC[truncateFunc](f.inner.FxTruncate)(tls, id, size)
	if rc == sqlite3.SQLITE_OK {
		v.log.note(note{act: cut, file: f.name, at: size})
	}
	return rc
}

func (v *vfs) xSync(tls *libc.TLS, id uintptr, flags int32) int32 {
	f := v.file(id)
	rc := fromC[syncFunc](f.inner.FxSync)(tls, id, flags)
	if rc == sqlite3.SQLITE_OK {
		v.log.note(note{act: synced, file: f.name})
	}
	return rc
}
