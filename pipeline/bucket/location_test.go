package bucket

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestALocationReadsBackAsItIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]{3,20}`).Draw(t, "bucket")
		prefix := rapid.StringMatching(`(/[A-Za-z0-9=_. -]{1,8}x){0,3}/{0,2}`).Draw(t, "prefix")
		text := "s3://" + name + prefix
		if rapid.Bool().Draw(t, "endpoint") {
			text += "?endpoint=http://127.0.0.1:9000&region=eu-west-1"
		}
		l, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := Parse(l.String())
		if err != nil || again != l || again.Folder() != l.Folder() {
			t.Fatalf("%s is shown as %s, which is %v, %v", text, l, again, err)
		}
	})
}

func TestAURLThatIsNoPlaceIsRefusedWithoutItsSecrets(t *testing.T) {
	for _, text := range []string{
		"s3://", "s3:///prefix", "s3://bucket:9000/x", "s3://bucket/a/../b", "s3://bucket/x#secret", "s3://bucket/a//b",
		"s3://key:secret@bucket/x", "s3://secret@bucket/x", "s3://bucket/x?token=secret", "s3://bucket/x?endpoint=http://key:secret@host", "s3://bucket/x?endpoint=host",
		"s3a://bucket/x", "https://key:secret@host/x", "file:///x", "s3://bucket/%zzsecret", "s3://bucket?a=%zzsecret", "azblob://c?sas=secret",
	} {
		_, err := Parse(text)
		if !errors.Is(err, ErrLocation) {
			t.Errorf("%s: %v", text, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the secret: %v", text, err)
		}
	}
}

func TestFoldersOfTwoPlacesDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, text := range []string{"s3://bucket/a", "s3://bucket/b", "gs://bucket/a", "s3://bucket--a", "s3://bucket/a?endpoint=http://host"} {
		l, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[l.Folder()]; taken {
			t.Errorf("%s and %s share %s", text, other, l.Folder())
		}
		seen[l.Folder()] = text
	}
}
