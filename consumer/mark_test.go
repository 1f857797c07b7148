package consumer

import (
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/recordbatch"
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

// The log cleaner changes a batch's checksum when it takes records out, and also
// when it only notes when tombstones and transaction markers may go.
func TestMark_Compacted(t *testing.T) {
	for name, row := range map[string]struct {
		header recordbatch.Header
		want   bool
	}{
		"Whole":         {recordbatch.Header{LastOffsetDelta: 9, Count: 10}, false},
		"LacksRecords":  {recordbatch.Header{LastOffsetDelta: 9, Count: 9}, true},
		"DeleteHorizon": {recordbatch.Header{LastOffsetDelta: 9, Count: 10, Attributes: 1 << 6}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := markOf(&row.header).compacted; got != row.want {
				t.Errorf("%v", got)
			}
		})
	}
}
