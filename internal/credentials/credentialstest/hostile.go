package credentialstest

import (
	"strings"

	"pgregory.net/rapid"

	"invoicebox-worker/internal/journal"
)

// pieces are parts of a shop id or an account that tries to leave its path, or to share
// another's.
var pieces = []string{
	"..", ".", "/", "//", `\`, "%2e", "%2f", "%252e", "%00", "?", "#", "&", "=", "+", " ", ":", "@", "*", ";", ",", "$", "{", "'", `"`,
	"b32-", "b32-fyxa", "b32-FYXA", "?version=2", "#/token", "data", "metadata", "destroy", "invoicebox", "default", "secret", "shop-1", "A", "a",
	"é", "e\u0301", "\u202e", "\u200b", "．．", "／", "ſ", "İ", "магазин", "🛍",
}

// hostile draws a text of at most the given number of bytes.
func hostile(most int) *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 6), func(p []string) string { return strings.Join(p, "") }),
		rapid.StringN(1, 40, most),
		rapid.SampledFrom(Shops),
	)
}

// HostileShops draws shops whose ids and accounts try to leave their path, or to share
// another's. Some of them are not permitted.
func HostileShops() *rapid.Generator[journal.ShopKey] {
	return rapid.Custom(func(t *rapid.T) journal.ShopKey {
		account := rapid.OneOf(rapid.SampledFrom([]string{"default", "second", "invoicebox", "data"}), hostile(64)).Draw(t, "account")
		return journal.ShopKey{Account: account, Shop: hostile(128).Draw(t, "shop")}
	})
}
