package invoicebox

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
)

// Bounds of undoing a content coding. A request asks for none; a response that
// has one all the same is read.
const (
	maxUnpackedBytes = DefaultMaxResponseBytes
	maxCodings       = 2 // one proxy that compresses what another has compressed
)

var errUnpackedLarge = errors.New("invoicebox: the unpacked body is too large")

// Unpacked gives the body without its content codings, for people. The error
// says that it is larger than is allowed.
func (x Exchange) Unpacked() ([]byte, error) { return x.unpacked() }

// unpacked gives the body without its content codings. gzip and zlib are known
// by their first bytes, which JSON cannot have, so a wrong or missing header
// does no harm. A coding that cannot be undone leaves the body as it is.
func (x Exchange) unpacked() ([]byte, error) {
	body := x.Body
	for range maxCodings {
		from := decoderOf(body, x.Header.Get("Content-Encoding"))
		if from == nil {
			return body, nil
		}
		plain, err := io.ReadAll(io.LimitReader(from, maxUnpackedBytes+1))
		switch {
		case len(plain) > maxUnpackedBytes:
			return nil, errUnpackedLarge
		case err == nil, len(plain) > 0 && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrHeader)):
			// Whether a body without its trailer, or with more behind it, is whole
			// is decided by the JSON in it. A wrong checksum is an error.
			body = plain
		default:
			return body, nil
		}
	}
	return body, nil
}

// decoderOf gives the reader that undoes the outermost coding, nil for none.
func decoderOf(body []byte, encoding string) io.Reader {
	switch {
	case len(body) > 2 && body[0] == 0x1f && body[1] == 0x8b:
		if r, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			return r
		}
	case len(body) > 2 && body[0]&0x0f == 8 && (int(body[0])<<8|int(body[1]))%31 == 0:
		if r, err := zlib.NewReader(bytes.NewReader(body)); err == nil {
			return r
		}
	case strings.Contains(strings.ToLower(encoding), "deflate") && firstByte(body) != '{':
		// Some servers send deflate without the zlib header.
		return flate.NewReader(bytes.NewReader(body))
	}
	return nil
}

// firstByte gives the first byte that is no white space, 0 for none.
func firstByte(body []byte) byte {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 {
		return trimmed[0]
	}
	return 0
}
