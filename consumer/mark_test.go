package consumer

import (
	"testing"

	"invoicebox-worker/internal/journal"
)

func TestMark_IsSame(t *testing.T) {
	read := journal.BatchMark{Last: 19, Epoch: 3, CRC: 77}
	for name, row := range map[string]struct {
		there mark
		want  bool
	}{
		"Same":                      {mark{base: 10, last: 19, epoch: 3, crc: 77}, true},
		"SameRecordsOfAnotherEpoch": {mark{base: 10, last: 19, epoch: 4, crc: 77}, true},
		"OtherRecords":              {mark{base: 10, last: 19, epoch: 3, crc: 78}, false},
		"OtherEpoch":                {mark{base: 10, last: 19, epoch: 4, crc: 78}, false},
		"OtherBounds":               {mark{base: 15, last: 25, epoch: 3, crc: 77}, false},
		"Compacted":                 {mark{base: 10, last: 19, epoch: 3, crc: 78, compacted: true}, true},
		"CompactedOtherEpoch":       {mark{base: 10, last: 19, epoch: 4, crc: 78, compacted: true}, false},
		"CompactedAway":             {mark{base: 30, last: 39, epoch: 5, crc: 1}, true},
		"EarlierEpochBehindAGap":    {mark{base: 30, last: 39, epoch: 2, crc: 1}, false},
		"EpochUnknown":              {mark{base: 10, last: 19, epoch: -1, crc: 77}, true},
		"EpochUnknownOtherRecords":  {mark{base: 10, last: 19, epoch: -1, crc: 78}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := row.there.isSame(&read); got != row.want {
				t.Errorf("%v", got)
			}
		})
	}
}
