package catalog

import (
	"strings"
	"testing"
)

func TestEveryEntryIsFoundByItsNameInAnyCase(t *testing.T) {
	for _, b := range Boards() {
		if got, err := BoardByName(strings.ToLower(b.Name)); err != nil || got != b {
			t.Errorf("%s: found %+v, %v", b.Name, got, err)
		}
		if b.IdleW >= b.TDPW || b.MemoryGB <= 0 || b.BandwidthGBs <= 0 || b.BF16TFLOPs <= 0 || b.Cores <= 0 {
			t.Errorf("implausible board %+v", b)
		}
	}
	for _, m := range Models() {
		if got, err := ModelByName(strings.ToUpper(m.Name)); err != nil || got != m {
			t.Errorf("%s: found %+v, %v", m.Name, got, err)
		}
	}
	if _, err := ModelByName(DefaultModel); err != nil {
		t.Error(err)
	}
}

func TestAnUnknownNameIsAnsweredWithTheKnownOnes(t *testing.T) {
	_, err := BoardByName("A11")
	if err == nil || !strings.Contains(err.Error(), `"A11"`) || !strings.Contains(err.Error(), "A100-40") {
		t.Errorf("error %v", err)
	}
	_, err = ModelByName("gpt-9")
	if err == nil || !strings.Contains(err.Error(), `"gpt-9"`) || !strings.Contains(err.Error(), DefaultModel) {
		t.Errorf("error %v", err)
	}
}

func TestSizesFollowFromTheArchitecture(t *testing.T) {
	m, err := ModelByName(DefaultModel)
	if err != nil {
		t.Fatal(err)
	}
	if m.WeightBytes() != 16.06e9 || m.KVBytesPerToken() != 131_072 {
		t.Errorf("%s: %.0f bytes of weights, %.0f a token", m.Name, m.WeightBytes(), m.KVBytesPerToken())
	}
}
