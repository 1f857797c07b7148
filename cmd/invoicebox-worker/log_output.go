package main

import (
	"bytes"
	"io"
	"os"
	"sync/atomic"
	"time"
)

const (
	logQueue     = 4096        // lines that wait for a slow reader
	flushLogsFor = time.Second // how long the last lines may take
)

// A logOutput is where the service logs to. Nothing that happens to its reader
// stops the service: a write that fails is counted, and a reader that does not
// read (a stopped terminal, a stuck log agent) is waited for by a queue, whose
// overflow is counted too.
type logOutput struct {
	out   io.Writer
	lines chan logLine // nil: lines are written at once
	lost  atomic.Uint64
}

// A logLine is a line, or a request to say that all lines before it are out.
type logLine struct {
	text    []byte
	written chan struct{}
}

// newLogOutput writes to out. Only a pipe, a socket or a device can make a
// write wait; lines for a file or for memory are written at once.
func newLogOutput(out io.Writer) *logOutput {
	o := &logOutput{out: out}
	if file, ok := out.(*os.File); ok {
		if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
			o.lines = make(chan logLine, logQueue)
			go o.writeAll()
		}
	}
	return o
}

// Write takes one line. It never fails and never waits.
func (o *logOutput) Write(line []byte) (int, error) {
	if o.lines == nil {
		o.write(line)
		return len(line), nil
	}
	select {
	case o.lines <- logLine{text: bytes.Clone(line)}:
	default:
		o.lost.Add(1)
	}
	return len(line), nil
}

func (o *logOutput) writeAll() {
	for line := range o.lines {
		if line.written != nil {
			close(line.written)
			continue
		}
		o.write(line.text)
	}
}

func (o *logOutput) write(line []byte) {
	if n, err := o.out.Write(line); err != nil || n < len(line) {
		o.lost.Add(1)
	}
}

// flush waits until the lines so far are written, within a bound.
func (o *logOutput) flush(bound time.Duration) {
	if o.lines == nil {
		return
	}
	late := time.NewTimer(bound)
	defer late.Stop()
	written := make(chan struct{})
	select {
	case o.lines <- logLine{written: written}:
	case <-late.C:
		return
	}
	select {
	case <-written:
	case <-late.C:
	}
}

// notWritten is the number of lines that reached nobody.
func (o *logOutput) notWritten() uint64 { return o.lost.Load() }
