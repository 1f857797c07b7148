package schemas_test

import (
	"errors"
	"testing"
	"time"

	"invoicebox-worker/schemas"
)

// RFC 3339 and what common libraries write beside it are read where they name
// one instant. A date without one is dropped, and the record's time counts. What
// is no date at all is refused.
func TestTimes(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	half := at.Add(500 * time.Millisecond)
	const read, dropped, refused = "read", "dropped", "refused"
	for text, c := range map[string]struct {
		end string
		at  time.Time
	}{
		"2026-11-20T12:00:00.5+03:00":                {read, half},
		"2026-11-20t09:00:00.5z":                     {read, half},
		"2026-11-20T09:00:00.500000000Z":             {read, half},
		"2026-11-21T08:59:00.5+23:59":                {read, half},
		"2026-11-20T12:00:00+0300":                   {read, at},   // PHP DATE_ISO8601
		"2026-11-20T12:00:00.500+0300":               {read, half}, // Java SimpleDateFormat
		"Fri, 20 Nov 2026 12:00:00 +0300":            {read, at},   // PHP DATE_RFC2822
		"2026-11-20T09:00Z":                          {read, at},   // Java OffsetDateTime on a whole minute
		"2026-11-20T12:00+03:00[Europe/Moscow]":      {read, at},   // Java ZonedDateTime
		"2026-11-20T12:00:00.5+03:00[Europe/Moscow]": {read, half},
		"2026-11-20T09:00:00Z[UTC]":                  {read, at},
		"2026-11-20 12:00:00+03:00":                  {read, at},   // Python str(datetime)
		"2026-11-20 12:00:00.5+03":                   {read, half}, // PostgreSQL
		"2026-11-20 09:00:00.5Z":                     {read, half},
		"2026-11-20 12:00:00 +0300":                  {read, at}, // Ruby
		"2026-11-20 09:00:00 UTC":                    {read, at}, // Ruby
		"2026-11-20T09:00:00,5Z":                     {read, half},
		"20261120T090000Z":                           {read, at},
		"2026-11-20T09:00:00.123456":                 {dropped, at}, // Python isoformat, .NET
		"2026-11-20T09:00:00":                        {dropped, at}, // Java LocalDateTime
		"2026-11-20 09:00:00":                        {dropped, at}, // MySQL
		"2026-11-20":                                 {dropped, at},
		"2026-02-30T09:00:00Z":                       {dropped, at},
		"2026-11-20T09:00:00.5+24:00":                {dropped, at},
		"2026-11-20T25:00:00Z":                       {dropped, at},
		"Fri Nov 20 2026 12:00:00 GMT+0300 (MSK)":    {dropped, at}, // JavaScript
		"Fri Nov 20 12:00:00 MSK 2026":               {dropped, at}, // Java Date
		"1795165200":                                 {refused, at},
		"1795946400000":                              {refused, at},
		"1795946400.5":                               {refused, at},
		"yesterday":                                  {refused, at},
		"20.11.2026":                                 {refused, at},
	} {
		binary := binaryMessage(schemas.TypeCodeEntered, goodCode)
		for i := range binary.Headers {
			if binary.Headers[i].Key == "ce_time" {
				binary.Headers[i].Value = []byte(text)
			}
		}
		structured := structuredMessage(schemas.TypeCodeEntered, goodCode)
		structured.Value = []byte(`{"specversion":"1.0","id":"e-1","source":"/platform","type":"` + schemas.TypeCodeEntered + `","time":"` + text + `","data":` + goodCode + `}`)
		for where, m := range map[string]schemas.Message{"ce_time": binary, "/time": structured} {
			m.Time = time.UnixMilli(1_790_000_000_000)
			in, err := decoder(t, schemas.DecoderOptions{}).Decode(m)
			invalid, _ := errors.AsType[*schemas.InvalidError](err)
			switch c.end {
			case read:
				if err != nil || in.TimeDropped || !in.Time.Equal(c.at) {
					t.Errorf("%s %s: %v %v", where, text, in.Time, err)
				}
			case dropped:
				if err != nil || !in.TimeDropped || !in.Time.Equal(m.Time) {
					t.Errorf("%s %s: %v %v %v", where, text, in.TimeDropped, in.Time, err)
				}
			case refused:
				if invalid == nil || invalid.Reason != schemas.ReasonMalformed || invalid.Where != where {
					t.Errorf("%s %s: %v", where, text, err)
				}
			}
		}
	}
}
