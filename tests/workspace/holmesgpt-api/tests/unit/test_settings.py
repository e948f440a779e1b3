"""The environment."""

import pytest

from holmesgpt_api.settings import Settings


def test_an_empty_environment_serves_on_8080_and_investigates_nothing() -> None:
    assert Settings.of({}) == Settings(mock_llm=False, data_storage_url="", host="0.0.0.0", port=8080)


def test_the_environment_is_read() -> None:
    found = Settings.of({"MOCK_LLM": "true", "PORT": "18120", "DATA_STORAGE_URL": "http://datastorage:8080"})
    assert found == Settings(mock_llm=True, port=18120, data_storage_url="http://datastorage:8080")


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "http"), ("PORT", "65536"), ("MOCK_LLM", "yes"), ("HOLMESGPT_API_FAULT", "fire")]
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f'^{name}: "{value}"'):
        Settings.of({name: value})
