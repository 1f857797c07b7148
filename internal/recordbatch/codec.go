package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Limits bound the memory and time for one batch. All are required.
type Limits struct {
	Decompressed int64 // of all records of a batch, in bytes
	Buffer       int64 // that the decompressor holds at a time, in bytes
	Records      int   // records of a batch
	Record       int   // in bytes
	Headers      int   // headers of a record
}

// A Decompressor reads batches within limits. It reuses decompressors, and is safe for
// concurrent use.
type Decompressor struct {
	limits Limits
	zstd   sync.Pool // of *zstd.Decoder
	gzip   sync.Pool // of *gzip.Reader
}

// NewDecompressor makes a decompressor.
func NewDecompressor(limits Limits) *Decompressor { return &Decompressor{limits: limits} }

const (
	gzipBuffer  = 64 << 10
	zstdScratch = 1 << 20 // blocks, tables and literals beside the window
	// keptWindow bounds the window of a decompressor that is reused.
	keptWindow = 2 << 20
	maxWindow  = 1 << 40
)

// snappyHeader begins the framing of the Java client: a version, the oldest compatible
// one, then blocks, each after its compressed length.
const (
	snappyHeader     = "\x82SNAPPY\x00"
	snappyHeaderSize = 16
)

// MemoryNeeded returns how many bytes decompressing a batch needs at most, or an error
// of ErrTooLarge if that exceeds the limit.
func (dc *Decompressor) MemoryNeeded(b *Batch) (int64, error) {
	need, err := dc.need(b.Codec(), b.payload())
	if err == nil && need > dc.limits.Buffer {
		err = fmt.Errorf("%w: decompressing it needs %d bytes of memory, the limit is %d", ErrTooLarge, need, dc.limits.Buffer)
	}
	return need, err
}

func (dc *Decompressor) need(codec uint8, payload []byte) (int64, error) {
	switch codec {
	case None:
		return 0, nil
	case Gzip:
		return gzipBuffer, nil
	case Snappy:
		// A block is decompressed whole. The blocks of the Java client are small and
		// each is bounded when it is read; raw snappy is one block.
		if bytes.HasPrefix(payload, []byte(snappyHeader)) {
			return min(dc.limits.Buffer, snappyBlock), nil
		}
		size, err := s2.DecodedLen(payload)
		if err != nil {
			return 0, fmt.Errorf("%w: snappy: %w", ErrMalformed, err)
		}
		return int64(size), nil
	case LZ4:
		size, err := lz4Block(payload)
		return 2*size + gzipBuffer, err
	case Zstd:
		if window, ok := zstdWindow(payload); ok && window+zstdScratch <= dc.limits.Buffer {
			return window + zstdScratch, nil
		}
		return dc.limits.Buffer, nil
	}
	return 0, fmt.Errorf("%w: its compression %d is unknown", ErrMalformed, codec)
}

// snappyBlock bounds a block of the Java client's framing, which writes 32 KiB.
const snappyBlock = 2 << 20

// lz4Block is the size of the frame's blocks, from its descriptor.
func lz4Block(payload []byte) (int64, error) {
	if len(payload) < 7 || binary.LittleEndian.Uint32(payload) != 0x184D2204 {
		return 0, fmt.Errorf("%w: lz4: no frame", ErrMalformed)
	}
	switch index := payload[5] >> 4 & 7; index {
	case 4, 5, 6, 7: // 64 KiB, 256 KiB, 1 MiB, 4 MiB
		return 1 << (8 + 2*index), nil
	default:
		return 0, fmt.Errorf("%w: lz4: block size %d is unknown", ErrMalformed, index)
	}
}

// zstdWindow is the window of the first frame.
func zstdWindow(payload []byte) (int64, bool) {
	var h zstd.Header
	if err := h.Decode(payload); err != nil || h.Skippable {
		return 0, false
	}
	window := h.WindowSize
	if h.SingleSegment { // the content is the window
		window = h.FrameContentSize
	}
	if window > maxWindow {
		return 0, false
	}
	return int64(max(window, zstd.MinWindowSize)), true // #nosec G115 -- at most maxWindow
}

// open starts to decompress a batch. The function returns the decompressor for reuse.
func (dc *Decompressor) open(b *Batch) (io.Reader, func(), error) {
	need, err := dc.MemoryNeeded(b)
	if err != nil {
		return nil, nil, err
	}
	payload := b.payload()
	nothing := func() {}
	switch b.Codec() {
	case None:
		return bytes.NewReader(payload), nothing, nil
	case Gzip:
		return dc.openGzip(payload)
	case Snappy:
		if bytes.HasPrefix(payload, []byte(snappyHeader)) {
			if len(payload) < snappyHeaderSize {
				return nil, nil, fmt.Errorf("%w: snappy: the header is cut", ErrMalformed)
			}
			return &blocks{rest: payload[snappyHeaderSize:], limit: need}, nothing, nil
		}
		plain, err := s2.Decode(nil, payload)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: snappy: %w", ErrMalformed, err)
		}
		return bytes.NewReader(plain), nothing, nil
	case LZ4:
		return lz4.NewReader(bytes.NewReader(payload)), nothing, nil
	}
	return dc.openZstd(payload, need)
}

func (dc *Decompressor) openGzip(payload []byte) (io.Reader, func(), error) {
	if r, ok := dc.gzip.Get().(*gzip.Reader); ok {
		if err := r.Reset(bytes.NewReader(payload)); err != nil {
			return nil, nil, fmt.Errorf("%w: gzip: %w", ErrMalformed, err)
		}
		return r, func() { dc.gzip.Put(r) }, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: gzip: %w", ErrMalformed, err)
	}
	return r, func() { dc.gzip.Put(r) }, nil
}

// openZstd decompresses as a stream if the window is within the limit. The highest
// levels ask for a window that no batch fills; those batches are decompressed at once,
// which needs no window.
func (dc *Decompressor) openZstd(payload []byte, need int64) (io.Reader, func(), error) {
	window, ok := zstdWindow(payload)
	if !ok || window+zstdScratch > dc.limits.Buffer {
		all, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: zstd: %w", ErrMalformed, err)
		}
		defer all.Close()
		plain, err := all.DecodeAll(payload, make([]byte, 0, max(dc.limits.Buffer-zstdScratch, 0)))
		if err != nil {
			return nil, nil, zstdError(err)
		}
		return bytes.NewReader(plain), func() {}, nil
	}
	// A later frame of the batch must not take a larger window than the first.
	limit := zstd.WithDecoderMaxWindow(uint64(window)) // #nosec G115 -- not negative
	d, _ := dc.zstd.Get().(*zstd.Decoder)
	var err error
	if d == nil {
		d, err = zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), limit)
	} else {
		err = d.ResetWithOptions(bytes.NewReader(payload), limit)
	}
	if err != nil {
		return nil, nil, zstdError(err)
	}
	return zstdReader{d}, func() {
		if need > keptWindow+zstdScratch {
			d.Close()
			return
		}
		if d.Reset(nil) == nil {
			dc.zstd.Put(d)
		}
	}, nil
}

type zstdReader struct{ d *zstd.Decoder }

func (r zstdReader) Read(p []byte) (int, error) {
	n, err := r.d.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = zstdError(err)
	}
	return n, err
}

func zstdError(err error) error {
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return fmt.Errorf("%w: zstd: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: zstd: %w", ErrMalformed, err)
}

// blocks decompresses the Java client's framing of snappy.
type blocks struct {
	rest  []byte
	limit int64
	plain []byte
	at    int
}

func (b *blocks) Read(p []byte) (int, error) {
	for b.at == len(b.plain) {
		if len(b.rest) == 0 {
			return 0, io.EOF
		}
		if len(b.rest) < 4 {
			return 0, fmt.Errorf("%w: snappy: a block is cut", ErrMalformed)
		}
		size := int64(binary.BigEndian.Uint32(b.rest))
		if size > int64(len(b.rest)-4) {
			return 0, fmt.Errorf("%w: snappy: a block is cut", ErrMalformed)
		}
		packed := b.rest[4 : 4+size]
		b.rest = b.rest[4+size:]
		plain, err := s2.DecodedLen(packed)
		if err != nil {
			return 0, fmt.Errorf("%w: snappy: %w", ErrMalformed, err)
		}
		if int64(plain) > b.limit {
			return 0, fmt.Errorf("%w: a block of snappy holds %d bytes, the limit is %d", ErrTooLarge, plain, b.limit)
		}
		if b.plain, err = s2.Decode(b.plain[:cap(b.plain)], packed); err != nil {
			return 0, fmt.Errorf("%w: snappy: %w", ErrMalformed, err)
		}
		b.at = 0
	}
	n := copy(p, b.plain[b.at:])
	b.at += n
	return n, nil
}
