package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// auditLabel begins what is hashed for an audit entry, so that the hash is not that of
// anything else.
const auditLabel = "invoicebox-worker audit 1"

// AuditHash returns the hash of an entry: SHA-256 of a label, of the hash of the entry
// before it (empty for the first), of its number and its time in microseconds since 1970
// as 8 bytes each, the most significant first, and of actor, act, subject and detail. Each
// text, and the hash, stands behind its length in 4 bytes.
//
// Whoever changes, removes or inserts an entry has to change the hashes of all entries
// after it, which differ then from every copy that was made before.
func AuditHash(previous []byte, e AuditEntry) []byte {
	text := func(b []byte, s string) []byte {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) // #nosec G115 -- texts are far shorter
		return append(b, s...)
	}
	b := text(nil, auditLabel)
	b = text(b, string(previous))
	b = binary.BigEndian.AppendUint64(b, uint64(e.ID))             // #nosec G115 -- never negative
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixMicro())) // #nosec G115 -- the bits count, not the number
	for _, s := range []string{e.Actor, e.Act, e.Subject, e.Detail} {
		b = text(b, s)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// NextAudit returns an entry as it follows the last one, whose number and hash are given:
// 0 and nil if there is none.
func NextAudit(last int64, hash []byte, e AuditEntry) AuditEntry {
	e.ID, e.At = last+1, e.At.UTC().Truncate(time.Microsecond)
	e.Hash = AuditHash(hash, e)
	return e
}
