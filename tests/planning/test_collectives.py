"""Collectives are counted as the program says: every kind, loops as often as they run."""

from zoo.planning import Collective, collectives
from zoo.planning.plan import link_bytes

PROGRAM = """HloModule jit_step

%cond.1 (p: (s32[], f32[4])) -> pred[] {
  %constant.7 = s32[]{:T(128)} constant(5)
  %p = (s32[], f32[4]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  ROOT %lt = pred[] compare(%i, %constant.7), direction=LT
}

%body.1 (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %all-reduce.1 = (bf16[2,3]{1,0:T(8,128)}, /*index=1*/f32[4]{0}) all-reduce(%a, %b), to_apply=%add
  %x = f32[4] get-tuple-element(%all-reduce.1), index=1
}

ENTRY %main.1 (p0: f32[8]) -> f32[8] {
  %while.1 = (s32[], f32[4]) while(%t), condition=%cond.1, body=%body.1, metadata={op_name="w"}
  %all-gather.1 = f32[8,16]{1,0} all-gather(%p0), dimensions={0}
  %ag = (f32[2], f32[16]) all-gather-start(%p0), dimensions={0}
  %done = f32[16] all-gather-done(%ag)
  ROOT %rs = f32[1]{0} reduce-scatter(%p0), dimensions={0}, to_apply=%add
}
"""


def test_a_program_with_a_loop():
    assert collectives(PROGRAM) == {
        "all-reduce": Collective(5, 5 * (2 * 3 * 2 + 4 * 4)),
        "all-gather": Collective(2, 8 * 16 * 4 + 16 * 4),
        "reduce-scatter": Collective(1, 4),
    }


def test_a_program_without_communication():
    assert (
        collectives("ENTRY %main (p: f32[1]) -> f32[1] {\n  ROOT %p = f32[1] parameter(0)\n}") == {}
    )


def test_rings_send_what_the_textbook_says():
    # Thakur, Rabenseifner and Gropp 2005: 2 (n - 1) / n, (n - 1) / n and (n - 1) / n of n elements
    # in all; a scattered sum of 80 bytes leaves 10 on each of 8 devices.
    assert link_bytes({"all-reduce": Collective(1, 80)}, 8) == 2 * 70
    assert link_bytes({"all-gather": Collective(1, 80)}, 8) == 70
    assert link_bytes({"reduce-scatter": Collective(1, 10)}, 8) == 70
    assert link_bytes({}, 8) == 0
