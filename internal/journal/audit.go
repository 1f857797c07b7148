package journal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// The labels begin the hashed bytes of the audit trail, so that no other value has the
// same hash.
const (
	auditLabel  = "invoicebox-worker audit 2"
	detailLabel = "invoicebox-worker audit detail"
)

// auditSalt is the length of the salt of a detail.
const auditSalt = 16

// AuditHash returns the hash of an entry: SHA-256 over a label, the hash of the entry
// before it (empty for the first), its number and its time in microseconds since 1970 (8
// bytes each, big-endian), its actor, act and subject, and the digest of its detail. The
// length of each text, hash and digest precedes it in 4 bytes.
//
// A change, removal or insertion of an entry changes the hashes of all entries after it,
// which then differ from every earlier copy. An erased detail changes no hash.
func AuditHash(previous []byte, e AuditEntry) []byte {
	b := hashed(nil, auditLabel)
	b = hashed(b, string(previous))
	b = binary.BigEndian.AppendUint64(b, uint64(e.ID))             // #nosec G115 -- never negative
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixMicro())) // #nosec G115 -- the bits count, not the number
	for _, s := range []string{e.Actor, e.Act, e.Subject, string(e.Digest)} {
		b = hashed(b, s)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// DetailDigest returns the digest of a detail: SHA-256 over a label, the salt and the
// detail; nil if the detail is empty. Once the salt is erased too, nobody can guess the
// detail from the digest.
func DetailDigest(salt []byte, detail string) []byte {
	if detail == "" {
		return nil
	}
	b := hashed(hashed(nil, detailLabel), string(salt))
	sum := sha256.Sum256(hashed(b, detail))
	return sum[:]
}

func hashed(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s))) // #nosec G115 -- texts are far shorter
	return append(b, s...)
}

// FormatNumbers writes rising numbers as text, such as "3 7-9".
func FormatNumbers(rising []int64) string {
	var b strings.Builder
	for k := 0; k < len(rising); k++ {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		first := rising[k]
		b.WriteString(strconv.FormatInt(first, 10))
		for k+1 < len(rising) && rising[k+1] == rising[k]+1 {
			k++
		}
		if rising[k] > first {
			b.WriteString("-" + strconv.FormatInt(rising[k], 10))
		}
	}
	return b.String()
}

// maxNumbers bounds the numbers of one text.
const maxNumbers = 10_000

// ParseNumbers parses the output of FormatNumbers; nil for any other text.
func ParseNumbers(text string) (numbers []int64) {
	for part := range strings.SplitSeq(text, " ") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, firstErr := strconv.ParseInt(from, 10, 64)
		last, lastErr := strconv.ParseInt(to, 10, 64)
		if firstErr != nil || lastErr != nil || first < 1 || last < first || last-first >= maxNumbers-int64(len(numbers)) {
			return nil
		}
		for n := first; n <= last; n++ {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// Salted returns an entry with the salt and the digest of its detail.
func (e AuditEntry) Salted() AuditEntry {
	if e.Detail != "" {
		e.Salt = make([]byte, auditSalt)
		_, _ = rand.Read(e.Salt) // never fails
	}
	e.Digest = DetailDigest(e.Salt, e.Detail)
	return e
}

// Erased reports whether the detail of an entry was erased.
func (e AuditEntry) Erased() bool { return len(e.Digest) > 0 && e.Detail == "" }

// NextAudit returns the salted entry that follows the entry with the given number and
// hash: 0 and nil if there is none.
func NextAudit(last int64, hash []byte, e AuditEntry) AuditEntry {
	e.ID, e.At = last+1, e.At.UTC().Truncate(time.Microsecond)
	e.Hash = AuditHash(hash, e)
	return e
}
