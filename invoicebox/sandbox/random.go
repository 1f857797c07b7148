package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
)

// A seed is where all chance comes from. Everything is derived from it and from
// what it is for, never from the order in which requests happen to arrive, so
// that the same values under the same seed always meet the same fate.
type seed uint64

// number returns 64 bits for (seed, purpose, text, n).
func (s seed) number(purpose, text string, n uint64) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037) ^ uint64(s)
	for _, part := range [2]string{purpose, text} {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * prime
		}
		h = (h ^ 0xff) * prime
	}
	return mix(h ^ mix(n+uint64(s)))
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// stream returns a source of chance for one request.
func (s seed) stream(purpose, text string, n uint64) *rand.Rand {
	// #nosec G404 -- chance that can be repeated is the purpose
	return rand.New(rand.NewPCG(s.number(purpose, text, n), uint64(s)))
}

// chance tells whether an event of the given probability happens to text.
func (s seed) chance(purpose, text string, probability float64) bool {
	return float64(s.number(purpose, text, 0)>>11)/(1<<53) < probability
}

// digest is for what a client must not be able to guess from its neighbours.
func (s seed) digest(purpose, text string) [sha256.Size]byte {
	b := make([]byte, 0, 64+len(text))
	b = binary.BigEndian.AppendUint64(b, uint64(s))
	b = append(b, purpose...)
	b = append(b, 0)
	b = append(b, text...)
	return sha256.Sum256(b)
}

// merchantID is the merchant id that a code leads to.
func (s seed) merchantID(code string) string {
	d := s.digest("merchant", code)
	return uuidText(d[:16])
}

// token is the shop's token that a code leads to. Most are hex; hostile mixes
// the other forms that were seen in the wild, up to the documented length.
func (s seed) token(code string, p Profile) string {
	d := s.digest("token", code)
	plain := hex.EncodeToString(d[:16])
	if p != Hostile {
		return plain
	}
	switch d[31] % 4 {
	case 0:
		return strconv.Itoa(int(d[30])+1) + ":" + plain
	case 1:
		return base64.StdEncoding.EncodeToString(d[:20])
	case 2:
		long := make([]byte, 0, maxToken)
		for len(long) < maxToken {
			long = append(long, plain...)
		}
		return string(long[:maxToken])
	default:
		return plain
	}
}

// invitationID is the JSON of the id of the n-th invitation of an address.
func (s seed) invitationID(identifier string, n uint64, form IDForm) []byte {
	a, b := s.number("invitation", identifier, n), s.number("invitation2", identifier, n)
	if form == Ints {
		return strconv.AppendUint(nil, a%1_000_000_000+1, 10)
	}
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], a)
	binary.BigEndian.PutUint64(raw[8:], b)
	return []byte(`"` + uuidText(raw[:]) + `"`)
}

// requestID is the X-Request-Id of the n-th request since the start.
func (s seed) requestID(n uint64) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], s.number("request", "", n))
	binary.BigEndian.PutUint64(raw[8:], mix(n^0x5bd1e995))
	return uuidText(raw[:])
}

// uuidText writes 16 bytes as a version 4 UUID.
func uuidText(raw []byte) string {
	var b [16]byte
	copy(b[:], raw)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	out := make([]byte, 36)
	hex.Encode(out[0:8], b[0:4])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:36], b[10:16])
	return string(out)
}
