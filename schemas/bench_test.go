package schemas_test

import (
	"errors"
	"testing"

	"invoicebox-worker/schemas"
)

func BenchmarkDecodeAccepted(b *testing.B) {
	d := decoder(b, schemas.DecoderOptions{})
	for name, m := range messagesOf(schemas.TypeProviderSelected, goodSelection) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeOtherProvider(b *testing.B) {
	d := decoder(b, schemas.DecoderOptions{})
	for name, m := range messagesOf(schemas.TypeProviderSelected, otherSelection) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := d.Decode(m)
				if ignored, ok := errors.AsType[*schemas.IgnoredError](err); !ok || ignored.Shop != "shop-1" {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, format := range []schemas.Format{schemas.FormatBinary, schemas.FormatStructured} {
		b.Run(string(format), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := schemas.Encode(activatedEvent(), format); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
