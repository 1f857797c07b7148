package sqlite

import (
	"errors"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// A logBuffer collects what a connection writes to the log until it syncs the log.
// SQLite writes each page with two system calls, which takes a tenth of the CPU of an
// event. Nothing reads the log before the sync but the connection itself: others see a
// commit in the index of the log, which SQLite writes after the sync.
//
// Each commit syncs the log, because the connection is synchronous=FULL. So what is in
// the buffer after the end of a transaction was rolled back, and is dropped: another
// connection may write to the same place from then on.
type logBuffer struct {
	inner  *sqlite3.Tsqlite3_io_methods // of the file system
	table  uintptr                      // the methods of the file, with those of the buffer
	buf    uintptr
	used   int
	offset int64 // in the log, of the buffer

	// SQLite has pointers to these.
	write    func(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32
	read     func(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32
	sync     func(tls *libc.TLS, file uintptr, flags int32) int32
	truncate func(tls *libc.TLS, file uintptr, size int64) int32
	size     func(tls *libc.TLS, file, size uintptr) int32
	close    func(tls *libc.TLS, file uintptr) int32
}

const logBufferSize = 128 << 10

// bufferLog has the writes to the log of a connection collected.
func (c *conn) bufferLog() error {
	if _, err := c.one("PRAGMA schema_version"); err != nil { // the first read opens the log
		return err
	}
	main, err := c.text("main")
	if err != nil {
		return err
	}
	defer sqlite3.Xsqlite3_free(c.tls, main)
	if err := c.failed(sqlite3.Xsqlite3_file_control(c.tls, c.db, main, sqlite3.SQLITE_FCNTL_JOURNAL_POINTER, c.buf)); err != nil {
		return err
	}
	file := inMemory[sqlite3.Tsqlite3_file](c.pointer(0))
	if file.FpMethods == 0 {
		return errors.New("journal: SQLite has not opened the log")
	}
	inner := inMemory[sqlite3.Tsqlite3_io_methods](file.FpMethods)
	characteristics := function(inner.FxDeviceCharacteristics, (func(*libc.TLS, uintptr) int32)(nil))(c.tls, c.pointer(0))
	if characteristics&sqlite3.SQLITE_IOCAP_POWERSAFE_OVERWRITE == 0 {
		return nil // SQLite fills the sector of a commit, and writes a part of that after the sync
	}
	b := &logBuffer{
		inner: inner,
		buf:   sqlite3.Xsqlite3_malloc64(c.tls, logBufferSize),
		table: sqlite3.Xsqlite3_malloc64(c.tls, uint64(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{}))),
	}
	c.log = b
	if b.buf == 0 || b.table == 0 {
		return c.failed(sqlite3.SQLITE_NOMEM)
	}
	b.write, b.read, b.sync, b.truncate, b.size, b.close = b.xWrite, b.xRead, b.xSync, b.xTruncate, b.xFileSize, b.xClose
	table := inMemory[sqlite3.Tsqlite3_io_methods](b.table)
	*table = *b.inner
	table.FxWrite, table.FxRead, table.FxSync = pointerTo(&b.write), pointerTo(&b.read), pointerTo(&b.sync)
	table.FxTruncate, table.FxFileSize, table.FxClose = pointerTo(&b.truncate), pointerTo(&b.size), pointerTo(&b.close)
	file.FpMethods = b.table
	return nil
}

// free frees the memory once the connection is closed.
func (b *logBuffer) free(tls *libc.TLS) {
	sqlite3.Xsqlite3_free(tls, b.buf)
	sqlite3.Xsqlite3_free(tls, b.table)
}

func (b *logBuffer) xWrite(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	if b.used > 0 && (offset != b.offset+int64(b.used) || b.used+int(n) > logBufferSize) {
		if rc := b.flush(tls, file); rc != sqlite3.SQLITE_OK {
			return rc
		}
	}
	if n > logBufferSize {
		return function(b.inner.FxWrite, b.write)(tls, file, data, n, offset)
	}
	if b.used == 0 {
		b.offset = offset
	}
	b.used += copy(libc.GoBytes(b.buf, logBufferSize)[b.used:], libc.GoBytes(data, int(n)))
	return sqlite3.SQLITE_OK
}

// flush writes what was collected. After an error it is lost, and the transaction with
// it.
func (b *logBuffer) flush(tls *libc.TLS, file uintptr) int32 {
	n := b.used
	if b.used = 0; n == 0 {
		return sqlite3.SQLITE_OK
	}
	return function(b.inner.FxWrite, b.write)(tls, file, b.buf, int32(n), b.offset) // #nosec G115 -- at most logBufferSize
}

func (b *logBuffer) xRead(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	if rc := b.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return function(b.inner.FxRead, b.read)(tls, file, data, n, offset)
}

func (b *logBuffer) xSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	if rc := b.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return function(b.inner.FxSync, b.sync)(tls, file, flags)
}

func (b *logBuffer) xTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	if rc := b.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return function(b.inner.FxTruncate, b.truncate)(tls, file, size)
}

func (b *logBuffer) xFileSize(tls *libc.TLS, file, size uintptr) int32 {
	if rc := b.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return function(b.inner.FxFileSize, b.size)(tls, file, size)
}

func (b *logBuffer) xClose(tls *libc.TLS, file uintptr) int32 {
	b.used = 0
	return function(b.inner.FxClose, b.close)(tls, file)
}

// inMemory is what lies at an address of SQLite's memory, which the garbage collector does
// not know.
func inMemory[T any](p uintptr) *T {
	return *(**T)(unsafe.Pointer(&p)) // #nosec G103 -- SQLite's memory
}

// function is the function of a pointer of SQLite, of the type of like.
func function[F any](p uintptr, _ F) F {
	return *(*F)(unsafe.Pointer(&p)) // #nosec G103 -- so SQLite calls it, too
}

// pointerTo is the pointer by which SQLite calls a function, as long as f exists.
func pointerTo[F any](f *F) uintptr {
	return *(*uintptr)(unsafe.Pointer(f)) // #nosec G103 -- so the driver makes them
}
