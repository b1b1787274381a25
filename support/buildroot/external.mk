include $(sort $(wildcard $(BR2_EXTERNAL_THIMBLE_PATH)/package/*/*.mk))
