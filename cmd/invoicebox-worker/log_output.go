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

// A logOutput is the log of the service. Its reader cannot stop the service: a write that
// fails is counted. If the reader does not read (a stopped terminal, a stuck log agent),
// lines wait in a queue; lines that the queue cannot hold are counted too.
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

// newLogOutput writes to out. A write to a pipe, a socket or a device can block, so these
// have a queue. Lines for a file or for memory are written at once.
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

// Write accepts one line. It never fails and never blocks.
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

// flush waits until the earlier lines are written, at most for the given time.
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

// notWritten is the number of lines that were lost.
func (o *logOutput) notWritten() uint64 { return o.lost.Load() }
